-- Users who were removed: no mail begins of a command that was decided before, and what waits of them ends.

CREATE TABLE removed_users (
    user_id    text PRIMARY KEY,
    removed_at timestamptz NOT NULL,
    noted_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX removed_users_order ON removed_users (noted_at);
COMMENT ON TABLE removed_users IS 'Users whose profile was deleted, kept 35 days for commands that were decided before.';
COMMENT ON COLUMN removed_users.removed_at IS 'Up to when the commands of the user end: the time of the record without a value.';
COMMENT ON COLUMN removed_users.noted_at IS 'When delivery read that record.';

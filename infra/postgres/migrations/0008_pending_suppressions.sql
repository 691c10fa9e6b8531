-- What outcomes say of users whose address is not known yet.

CREATE TABLE pending_suppressions (
    user_id    text NOT NULL,
    scope      text NOT NULL,
    reason     text NOT NULL,
    since      timestamptz NOT NULL,
    command_id text NOT NULL,
    PRIMARY KEY (user_id, scope)
);
COMMENT ON TABLE pending_suppressions IS 'Suppressions that wait for their user''s address; the profile brings it.';
COMMENT ON COLUMN pending_suppressions.since IS 'When the address was refused, or its reader complained or unsubscribed.';

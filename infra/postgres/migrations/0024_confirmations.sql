-- What recipients asked for on their pages and must confirm by a mail before it counts.

CREATE TABLE confirmations (
    command_id   text PRIMARY KEY,
    user_id      text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('resubscribe', 'address', 'new_address')),
    purposes     text[] NOT NULL,
    address      text,
    language     text NOT NULL,
    text_version text NOT NULL,
    made_at      timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    confirmed_at timestamptz
);
CREATE INDEX confirmations_user ON confirmations (user_id, made_at);
CREATE INDEX confirmations_end ON confirmations (expires_at);
COMMENT ON TABLE confirmations IS 'What recipients must confirm by a mail, kept for 30 days after its end. Written by web alone.';
COMMENT ON COLUMN confirmations.command_id IS 'The command of the mail, by which the link in it names the request.';
COMMENT ON COLUMN confirmations.text_version IS 'The version of the texts that the recipient read when asking.';
COMMENT ON COLUMN confirmations.confirmed_at IS 'When the change was made.';

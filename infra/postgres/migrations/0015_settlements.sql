-- What people decided about commands in doubt. Nothing is deleted from here.

CREATE TABLE settlements (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    by         text NOT NULL,
    why        text NOT NULL,
    command_id text NOT NULL,
    attempt    integer NOT NULL,
    decided    text NOT NULL CHECK (decided IN ('accepted', 'failed', 'resend'))
);
CREATE INDEX settlements_command ON settlements (command_id);
COMMENT ON TABLE settlements IS 'Each command in doubt that a person settled, by `ebbtide senders settle`.';

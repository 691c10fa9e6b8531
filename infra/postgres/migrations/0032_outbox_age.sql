-- How long what is to be published waits.

ALTER TABLE web_outbox ADD COLUMN added_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN web_outbox.added_at IS 'When the transaction that put it there began.';

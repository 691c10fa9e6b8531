-- What an import changes is published after what people and their pages change.

ALTER TABLE web_outbox ADD COLUMN bulk boolean NOT NULL DEFAULT false;
CREATE INDEX web_outbox_order ON web_outbox (bulk, number);
COMMENT ON COLUMN web_outbox.bulk IS 'Whether it may wait for everything else.';

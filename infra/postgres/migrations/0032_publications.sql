-- A store that was set back, as by a restored backup, tells its own records from those that it published in the time
-- that it lost: their publications have numbers that it has not come to yet.

ALTER TABLE web_publisher
    ADD COLUMN publication bigint NOT NULL DEFAULT 0,
    ADD COLUMN since timestamptz NOT NULL DEFAULT '-infinity';
COMMENT ON COLUMN web_publisher.publication IS 'The number of the last batch that was published. A header of each record says it.';
COMMENT ON COLUMN web_publisher.since IS 'When this process took over, or the table was set back under it: before it publishes, the follower must have been at the end of each partition since then.';

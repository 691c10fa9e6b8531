-- Recent events of visitors, kept until their chunk is dropped as a whole, for the users that they turn out to be.

CREATE TABLE visitor_events (
    anonymous_id  text NOT NULL,
    appended_at   timestamptz NOT NULL,
    partition     integer NOT NULL,
    record_offset bigint NOT NULL,
    event         bytea NOT NULL
);
SELECT create_hypertable('visitor_events', 'appended_at', chunk_time_interval => INTERVAL '15 minutes',
                         create_default_indexes => false);
CREATE INDEX visitor_events_visitor ON visitor_events (anonymous_id, appended_at);
COMMENT ON TABLE visitor_events IS 'What visitors without a known user did lately, as it stands in the topic events.';

CREATE FUNCTION drop_visitor_events(age interval) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(7306119) THEN
        SET LOCAL lock_timeout = '1s';
        PERFORM drop_chunks('visitor_events', older_than => now() - age);
    END IF;
EXCEPTION WHEN lock_not_available THEN
    NULL;  -- a statement still reads them; the next call drops them
END $$;
COMMENT ON FUNCTION drop_visitor_events IS 'Drops chunks that hold nothing younger than this.';

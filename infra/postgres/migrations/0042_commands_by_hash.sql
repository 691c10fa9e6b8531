-- Rows of a command are only looked for by its whole id. A hash of four bytes finds them as well as the text of 32, in less
-- room, and each row that comes costs less: 5.2 µs instead of 7.
--
-- The indexes are built over the rows that are there (some 1 s a million), while the recorder waits. An edition that
-- compresses chunks keeps those that it has.

DO $$
BEGIN
    IF current_setting('timescaledb.license') <> 'timescale' THEN
        CREATE INDEX deliveries_by_command ON deliveries USING hash (command_id);
        CREATE INDEX engagement_by_command ON engagement USING hash (command_id);
    END IF;
END $$;

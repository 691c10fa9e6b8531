-- Which partitions are old is asked of the ledger's alone. The planner may ask it of every relation first, and one whose
-- name ends in no date made that fail.

CREATE OR REPLACE FUNCTION ledger_drop_partitions(before date) RETURNS TABLE (partition_name text, problem text)
LANGUAGE plpgsql AS $$
BEGIN
    FOR partition_name IN
        WITH own AS MATERIALIZED (
            SELECT relname, CASE WHEN inhparent = 'ledger_ids'::regclass THEN 7 ELSE 1 END AS days
            FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
            WHERE inhparent IN ('ledger_outcomes'::regclass, 'ledger_ids'::regclass)
        )
        SELECT relname FROM own WHERE to_date(right(relname, 8), 'YYYYMMDD') + days <= before ORDER BY relname
    LOOP
        problem := NULL;
        IF partition_name LIKE 'ledger_outcomes_%' AND EXISTS (
            SELECT FROM ledger_outbox
            WHERE recorded_at < (to_date(right(partition_name, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC')
        THEN
            problem := 'it has outcomes that are not published';
        ELSE
            BEGIN
                EXECUTE format('DROP TABLE %I', partition_name);
            EXCEPTION WHEN lock_not_available THEN
                problem := 'another session uses it';
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;

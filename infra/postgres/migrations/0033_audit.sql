-- The audit: who changed what by a command or a page, chained by hashes. Rows are only added.

CREATE TABLE audit_log (
    number bigint PRIMARY KEY,
    entry  text NOT NULL,
    hash   bytea NOT NULL
);
CREATE TRIGGER audit_log_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
COMMENT ON TABLE audit_log IS 'Each change by a command or a page: who, what, of what, before, after. Written by audit_add alone.';
COMMENT ON COLUMN audit_log.entry IS 'JSON: number, at, who, what, subject, before, after. No address stands in it, and no secret.';
COMMENT ON COLUMN audit_log.hash IS 'SHA-256 of the hash of the row before and the entry in UTF-8.';

CREATE FUNCTION audit_add(who text, what text, subject text, before json, after json) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    last  record;
    place bigint;
    entry text;
BEGIN
    PERFORM pg_advisory_xact_lock(7306120);
    SELECT a.number, a.hash INTO last FROM audit_log AS a ORDER BY a.number DESC LIMIT 1;
    place := coalesce(last.number, 0) + 1;
    entry := json_build_object(
        'number', place, 'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'who', who, 'what', what, 'subject', subject, 'before', before, 'after', after);
    INSERT INTO audit_log VALUES (place, entry, sha256(coalesce(last.hash, '') || convert_to(entry, 'UTF8')));
    RETURN place;
END $$;
COMMENT ON FUNCTION audit_add IS 'Adds a row to the audit and returns its number. Others wait until the transaction ends.';

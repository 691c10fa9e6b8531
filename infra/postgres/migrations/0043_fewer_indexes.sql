-- The indexes by command that those by its hash replace, and that of mails by user, so that each row costs less. Whoever
-- exports or erases a person reads all mails (some 0.1 s a million), as all deliveries and engagement.

DO $$
BEGIN
    IF current_setting('timescaledb.license') <> 'timescale' THEN
        DROP INDEX deliveries_command;
        DROP INDEX engagement_command;
    END IF;
END $$;
DROP INDEX mails_user;

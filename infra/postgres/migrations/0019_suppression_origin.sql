-- Whose outcome suppressed an address, kept with the suppression: the ledger forgets its commands, and the hypertables
-- may be in another database.

ALTER TABLE suppressions ADD COLUMN user_id text, ADD COLUMN trigger text;
COMMENT ON COLUMN suppressions.user_id IS 'The user of the command whose outcome suppressed the address; null: a person did.';
COMMENT ON COLUMN suppressions.trigger IS 'The trigger of that command, if it was known.';

UPDATE suppressions AS s SET user_id = l.user_id, trigger = l.trigger
FROM ledger AS l WHERE l.key = ledger_key(s.command_id);

UPDATE suppressions AS s SET user_id = d.user_id, trigger = d.trigger
FROM (SELECT DISTINCT ON (command_id) command_id, user_id, trigger FROM deliveries
      WHERE command_id IN (SELECT command_id FROM suppressions WHERE user_id IS NULL)) AS d
WHERE s.user_id IS NULL AND d.command_id = s.command_id;

CREATE OR REPLACE FUNCTION suppression_begins() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    command record;
BEGIN
    -- One that has ended, or that ends earlier, makes room: its key is the same.
    DELETE FROM suppressions AS s
    WHERE s.address_hash = NEW.address_hash AND s.scope = NEW.scope AND s.expires_at IS NOT NULL
      AND (s.expires_at <= now() OR NEW.expires_at IS NULL OR NEW.expires_at > s.expires_at);
    NEW.source := coalesce(NEW.source, CASE NEW.reason
        WHEN 'hard_bounce' THEN 'reply' WHEN 'bounced' THEN 'bounce' WHEN 'complained' THEN 'complaint'
        WHEN 'unsubscribed' THEN 'unsubscribe' WHEN 'command' THEN 'person' ELSE NEW.reason END);
    SELECT l.user_id, l.trigger INTO command FROM ledger AS l WHERE l.key = ledger_key(NEW.command_id);
    NEW.user_id := coalesce(NEW.user_id, command.user_id);
    NEW.trigger := coalesce(NEW.trigger, command.trigger);
    RETURN NEW;
END $$;

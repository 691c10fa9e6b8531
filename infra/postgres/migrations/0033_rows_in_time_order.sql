-- The hypertables in the order of time, in chunks of a day, with the step and the variant of the mail. A row that comes is
-- written at the right end of its index; before, each went to a place of its own. Rows stay where they are: a new key is
-- built over them (some 3 s a million rows), while who reads or records them waits.
--
-- The recorder waits as it does for a server that is away, and mail goes on. Of an edition that compresses chunks, a key
-- over compressed rows cannot be built; it keeps the old one, which serves as well, and costs more.

ALTER TABLE decisions ADD COLUMN variant text;
ALTER TABLE deliveries ADD COLUMN step text, ADD COLUMN variant text, ADD COLUMN decided_at timestamptz;
ALTER TABLE engagement ADD COLUMN step text, ADD COLUMN variant text, ADD COLUMN decided_at timestamptz;
COMMENT ON COLUMN decisions.variant IS 'The variant of the trigger''s experiment; null without one, and in older rows.';
COMMENT ON COLUMN deliveries.decided_at IS 'When the command was decided; null in older rows.';
COMMENT ON COLUMN engagement.decided_at IS 'When the command was decided; null if its publisher does not say.';
COMMENT ON COLUMN deliveries.provider IS 'The mailbox provider of the shaping file; smtp where there is none, and in older rows.';

DROP INDEX decisions_trigger;
DROP INDEX decisions_command;
DROP INDEX deliveries_trigger;
DROP INDEX deliveries_user;
DROP INDEX engagement_trigger;
DROP INDEX engagement_user;

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['decisions', 'deliveries', 'engagement'] LOOP
        PERFORM set_chunk_time_interval(name::regclass, INTERVAL '1 day');
        IF NOT EXISTS (SELECT FROM timescaledb_information.chunks WHERE hypertable_name = name AND is_compressed) THEN
            EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', name, name || '_pkey');
            EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (time, id)', name);
        END IF;
    END LOOP;
END $$;

ALTER TABLE ledger_queue ADD COLUMN step text, ADD COLUMN variant text;
ALTER TABLE ledger_outcomes ADD COLUMN step text, ADD COLUMN variant text, ADD COLUMN decided_at timestamptz;
COMMENT ON COLUMN ledger_outcomes.decided_at IS 'When streams decided the command; null in older rows.';

CREATE OR REPLACE VIEW ledger AS
SELECT replace(command_id::text, '-', '') AS command_id, partition, user_id, trigger, purpose, state, reason, detail,
       attempt, admitted_at, started_at, state_at,
       CASE WHEN state <> 'started' THEN next_attempt_at END AS next_attempt_at, owner, address_hash, reply::jsonb AS reply,
       hard, classifier_hash, command_id AS key, step, variant, decided_at
FROM ledger_queue
UNION ALL
SELECT replace(command_id::text, '-', ''), partition, user_id, trigger, purpose, state, reason, detail,
       attempt, admitted_at, started_at, state_at, NULL, NULL, address_hash, reply::jsonb, hard, classifier_hash, command_id,
       step, variant, decided_at
FROM ledger_outcomes WHERE state NOT IN ('deferred', 'in_doubt');
COMMENT ON COLUMN ledger.decided_at IS 'When streams decided the command; null in older rows.';

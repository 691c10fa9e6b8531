-- The brand of each command and of what became of it: null without one, and in older rows. Those count as without
-- a brand until a later fact says it.

ALTER TABLE ledger_queue ADD COLUMN brand text;
ALTER TABLE ledger_outcomes ADD COLUMN brand text;
ALTER TABLE deliveries ADD COLUMN brand text;
ALTER TABLE engagement ADD COLUMN brand text;
COMMENT ON COLUMN deliveries.brand IS 'The brand that sent the mail; null without one, and in older rows.';
COMMENT ON COLUMN engagement.brand IS 'The brand that sent the mail; null without one, and in older rows.';
GRANT SELECT (brand) ON deliveries, engagement TO ebbtide_analyst;

CREATE OR REPLACE VIEW ledger AS
SELECT replace(command_id::text, '-', '') AS command_id, partition, user_id, trigger, purpose, state, reason, detail,
       attempt, admitted_at, started_at, state_at,
       CASE WHEN state <> 'started' THEN next_attempt_at END AS next_attempt_at, owner, address_hash, reply::jsonb AS reply,
       hard, classifier_hash, command_id AS key, step, variant, decided_at, brand
FROM ledger_queue
UNION ALL
SELECT replace(command_id::text, '-', ''), partition, user_id, trigger, purpose, state, reason, detail,
       attempt, admitted_at, started_at, state_at, NULL, NULL, address_hash, reply::jsonb, hard, classifier_hash, command_id,
       step, variant, decided_at, brand
FROM ledger_outcomes WHERE state NOT IN ('deferred', 'in_doubt');
COMMENT ON COLUMN ledger.brand IS 'The brand that sends the mail; null without one, and in older rows.';

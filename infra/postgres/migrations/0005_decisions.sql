-- Decisions lose `repeated`, which was always 0: every decision is a row of its own.

CREATE OR REPLACE VIEW v_decisions_by_reason AS
SELECT trigger, outcome, coalesce(reason, '') AS reason, count(*) AS decisions
FROM decisions
GROUP BY trigger, outcome, coalesce(reason, '');
COMMENT ON VIEW v_decisions_by_reason IS 'Decisions by trigger, outcome and reason.';

ALTER TABLE decisions DROP COLUMN repeated;

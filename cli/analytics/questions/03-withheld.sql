-- part: What did not go out
-- asks: Why was a mail not sent?
-- reads: Decisions that ended without a mail, by outcome and reason. A mail that waits is counted when the wait ends:
--   as sent, or as `expired` if quiet hours or a cap kept it too long.
-- plot: bars x=reason y=decisions by=outcome
SELECT outcome, reason, sum(decisions) AS decisions,
       round(100.0 * sum(decisions) / sum(sum(decisions)) OVER (), 1) AS share_pct
FROM analytics.decisions
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger' AND outcome IN ('drop', 'held_out', 'shadow')
GROUP BY outcome, reason
ORDER BY decisions DESC, outcome, reason

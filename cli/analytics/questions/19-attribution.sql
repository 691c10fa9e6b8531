-- part: Attribution
-- asks: Which campaigns get the credit for conversions?
-- reads: Conversions by six models over the clicks of 30 days before: the first, the last, all alike, more weight for later
--   ones (a half-life of 7 days), the share that would be lost without the campaign (Markov), and Shapley's value. They
--   divide what was clicked; what mails add, only the holdout says. Markov needs a period that ended 30 days ago: only
--   then is it known who was lost.
-- method: credits
-- plot: bars x=campaign y=markov
SELECT touches, sum(won) AS won, sum(lost) AS lost, array_agg(decayed) AS decayed
FROM analytics.paths
WHERE day >= :'since' AND day < :'until'
  AND (:'trigger' = '%' OR EXISTS (SELECT FROM unnest(touches) AS touch WHERE touch LIKE :'trigger'))
GROUP BY touches
ORDER BY won DESC, touches

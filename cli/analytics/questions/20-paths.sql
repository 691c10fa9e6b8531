-- part: Attribution
-- asks: By which mails do people come to convert?
-- reads: The triggers whose mails a person clicked in the 30 days before, oldest first. `lost` ended 30 days without a
--   click or a conversion.
-- plot: bars x=touches y=won
SELECT touches, sum(won) AS won, sum(lost) AS lost,
       round(100.0 * sum(won) / nullif(sum(won + lost), 0), 1) AS won_pct
FROM analytics.paths
WHERE day >= :'since' AND day < :'until'
  AND (:'trigger' = '%' OR EXISTS (SELECT FROM unnest(touches) AS touch WHERE touch LIKE :'trigger'))
GROUP BY touches
ORDER BY won DESC, lost DESC, touches
LIMIT 20

-- part: Readers
-- asks: By what were people and machines told apart?
-- reads: The vocabulary of evidence is in docs/recipients.md. Much of `none` means that neither can be told.
-- plot: bars x=evidence y=facts by=kind
SELECT kind, evidence, actor, sum(facts) AS facts,
       round(100.0 * sum(facts) / sum(sum(facts)) OVER (PARTITION BY kind), 1) AS share_pct
FROM analytics.engagement
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger' AND kind IN ('opened', 'clicked')
GROUP BY kind, evidence, actor
ORDER BY kind, facts DESC, evidence, actor

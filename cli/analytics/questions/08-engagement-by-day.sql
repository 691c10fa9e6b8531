-- part: Readers
-- asks: How many opens and clicks come in a day, from people, machines and unknown?
-- reads: Each open and click counts, on its own day. Unknown are mostly the proxies of mailbox providers, which open for
--   readers and for nobody.
-- plot: lines x=day y=facts by=what
SELECT day, kind || ' by ' || actor AS what, sum(facts) AS facts
FROM analytics.engagement
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger' AND kind IN ('opened', 'clicked')
GROUP BY day, kind, actor
ORDER BY day, what

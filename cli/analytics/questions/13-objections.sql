-- part: Readers
-- asks: Which triggers drive people away?
-- reads: Unsubscribes and complaints for a thousand accepted mails. Mailbox providers ask for less than one complaint,
--   and act at three.
-- plot: bars x=trigger y=unsubscribed_per_1000
SELECT trigger, sum(accepted) AS accepted, sum(unsubscribed) AS unsubscribed, sum(complained) AS complained,
       round(1000.0 * sum(unsubscribed) / nullif(sum(accepted), 0), 2) AS unsubscribed_per_1000,
       round(1000.0 * sum(complained) / nullif(sum(accepted), 0), 2) AS complained_per_1000
FROM analytics.results
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger
ORDER BY unsubscribed_per_1000 DESC NULLS LAST, trigger

-- part: Time and cost
-- asks: What does a trigger cost, and what does a conversion?
-- reads: Attempts at the price of a thousand, for what they brought. Conversions are those of the mailed, and many would
--   have come anyway: see holdout.
-- setting: price=0.80 The price of a thousand mails, in your currency.
-- plot: bars x=trigger y=cost
SELECT trigger, sum(attempts) AS attempts, sum(accepted) AS accepted,
       round(:'price'::numeric * sum(attempts) / 1000, 2) AS cost,
       round(:'price'::numeric * sum(attempts) / 1000 / nullif(sum(clicked), 0), 4) AS cost_per_click,
       round(:'price'::numeric * sum(attempts) / 1000 / nullif(sum(converted), 0), 4) AS cost_per_conversion,
       round(1.0 * sum(attempts) / nullif(sum(unsubscribed), 0), 0) AS mails_per_unsubscribe
FROM analytics.costs
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger
ORDER BY cost DESC, trigger

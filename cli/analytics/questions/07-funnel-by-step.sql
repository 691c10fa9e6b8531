-- part: The funnel
-- asks: How many people reach each step of a journey, and does a later mail still convert?
-- reads: A step is a send of a trigger; `unless`, caps and conversions leave fewer for the next one.
-- plot: bars x=step y=accepted by=trigger
SELECT trigger, step, sum(events) AS events, sum(accepted) AS accepted, sum(clicked) AS clicked,
       sum(converted) AS converted,
       round(100.0 * sum(clicked) / nullif(sum(accepted), 0), 1) AS clicked_pct,
       round(100.0 * sum(converted) / nullif(sum(accepted), 0), 1) AS converted_pct
FROM analytics.funnel
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger, step
ORDER BY trigger, accepted DESC, step

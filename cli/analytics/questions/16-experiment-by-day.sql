-- part: Experiments
-- asks: How did the difference between variants settle?
-- reads: The difference from the control with its always-valid bounds, by the users met up to each day. It is what you
--   would have seen that day, but for conversions that came later.
-- begins: analytics.experiments
-- setting: control= The variant to compare with; by default the first by name.
-- setting: success=converted|clicked What counts.
-- method: experiment_by_day
-- plot: intervals x=day y=diff_pct by=variant low=diff_low_pct high=diff_high_pct
SELECT trigger, variant, sum(users) AS users,
       sum(CASE :'success' WHEN 'clicked' THEN clicked ELSE converted END) AS successes, day
FROM analytics.experiments
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger, variant, day
ORDER BY trigger, day, variant

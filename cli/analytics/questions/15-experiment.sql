-- part: Experiments
-- asks: Which variant wins?
-- reads: Users by their first mail, and how many converted. `low` and `high` bound the rate by its posterior (95 %),
--   `best` is the probability to be the best of all. `diff` is against the control, in percentage points, with bounds that
--   hold however often you look: stop when the verdict says better or worse.
-- begins: analytics.experiments
-- setting: control= The variant to compare with; by default the first by name.
-- setting: success=converted|clicked What counts.
-- method: experiment_results
-- plot: intervals x=variant y=rate_pct by=trigger low=low_pct high=high_pct
SELECT trigger, variant, sum(users) AS users,
       sum(CASE :'success' WHEN 'clicked' THEN clicked ELSE converted END) AS successes
FROM analytics.experiments
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger, variant
ORDER BY trigger, variant

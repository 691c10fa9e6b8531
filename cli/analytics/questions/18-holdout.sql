-- part: Experiments
-- asks: What do the mails add to what people would do anyway?
-- reads: Conversions of users who were mailed against those whom the holdout kept back. The lift is relative, its bounds
--   hold however often you look, and `added` are the conversions that there would not have been.
-- begins: analytics.holdouts
-- method: holdout_lifts
-- plot: intervals x=trigger y=lift_pct low=lift_low_pct high=lift_high_pct
SELECT trigger, arm, sum(users) AS users, sum(converted) AS converted
FROM analytics.holdouts
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger, arm
ORDER BY trigger, arm

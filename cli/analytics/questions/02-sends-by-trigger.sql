-- part: What went out
-- asks: Which triggers send most, and how did that change against the period before?
-- reads: `before` is the period of the same length that ended when this one began.
-- plot: bars x=trigger y=sends
SELECT trigger,
       sum(sends) FILTER (WHERE day >= :'since') AS sends,
       sum(sends) FILTER (WHERE day < :'since') AS before,
       round(100.0 * sum(sends) FILTER (WHERE day >= :'since') / sum(sends) FILTER (WHERE day < :'since') - 100, 1)
           AS change_pct
FROM analytics.sends
WHERE day >= :'since'::date - (:'until'::date - :'since'::date) AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger
ORDER BY sends DESC NULLS LAST, trigger

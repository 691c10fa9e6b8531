-- part: What did not go out
-- asks: Do caps, quiet hours and holdouts withhold more than they used to?
-- reads: Caps and holdouts end a mail; `waited_quiet` are decisions to wait for the morning, most of which end as a mail.
-- plot: lines x=day y=capped,held_out,expired,waited_quiet
SELECT day, sum(capped) AS capped, sum(held_out) AS held_out, sum(expired) AS expired, sum(waited_quiet) AS waited_quiet
FROM analytics.funnel
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY day
ORDER BY day

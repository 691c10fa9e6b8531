-- part: Time and cost
-- asks: How long does a mail take from its event to the receiver?
-- reads: From the decision, which comes when its event does and the waits of its rule are over, to acceptance. Figures are
--   upper bounds by powers of two: half of the mails took less than `half_below_s` seconds.
-- plot: bars x=trigger y=most_below_s
WITH counted AS (
    SELECT trigger, seconds_below, sum(mails) AS mails
    FROM analytics.delays
    WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger' AND measure = 'acceptance'
    GROUP BY trigger, seconds_below
), running AS (
    SELECT trigger, seconds_below, mails, sum(mails) OVER (PARTITION BY trigger ORDER BY seconds_below) AS up_to,
           sum(mails) OVER (PARTITION BY trigger) AS whole
    FROM counted
)
SELECT trigger, max(whole) AS mails,
       min(seconds_below) FILTER (WHERE up_to >= 0.5 * whole) AS half_below_s,
       min(seconds_below) FILTER (WHERE up_to >= 0.95 * whole) AS most_below_s,
       min(seconds_below) FILTER (WHERE up_to >= 0.99 * whole) AS nearly_all_below_s,
       round(100.0 * sum(mails) FILTER (WHERE seconds_below <= 64) / max(whole), 1) AS about_a_minute_pct
FROM running
GROUP BY trigger
HAVING max(whole) > 0
ORDER BY mails DESC, trigger

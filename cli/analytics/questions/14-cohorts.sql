-- part: Cohorts
-- asks: Do the mails of later weeks do better than those of earlier ones?
-- reads: Each line has the mails of one week, from Monday, and what their readers did since. The latest weeks still grow.
-- plot: lines x=week y=opened_pct,clicked_pct,converted_pct
SELECT week, sum(mails) AS mails,
       round(100.0 * sum(opened) / nullif(sum(mails), 0), 1) AS opened_pct,
       round(100.0 * sum(clicked) / nullif(sum(mails), 0), 1) AS clicked_pct,
       round(100.0 * sum(converted) / nullif(sum(mails), 0), 2) AS converted_pct,
       round(1000.0 * sum(unsubscribed) / nullif(sum(mails), 0), 2) AS unsubscribed_per_1000
FROM analytics.cohorts
WHERE week >= date_trunc('week', :'since'::timestamp)::date AND week < :'until' AND trigger LIKE :'trigger'
GROUP BY week
ORDER BY week

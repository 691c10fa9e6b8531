-- part: The funnel
-- asks: Which triggers lose most, and where?
-- reads: Shares: sent of events, accepted of sent; opened, clicked and converted of accepted. Webhooks count as sent only.
-- plot: bars x=trigger y=converted_pct
SELECT trigger, sum(events) AS events, sum(sent) AS sent, sum(accepted) AS accepted, sum(opened) AS opened,
       sum(clicked) AS clicked, sum(converted) AS converted,
       round(100.0 * sum(sent) / nullif(sum(events), 0), 1) AS sent_pct,
       round(100.0 * sum(accepted) / nullif(sum(sent), 0), 1) AS accepted_pct,
       round(100.0 * sum(opened) / nullif(sum(accepted), 0), 1) AS opened_pct,
       round(100.0 * sum(clicked) / nullif(sum(accepted), 0), 1) AS clicked_pct,
       round(100.0 * sum(converted) / nullif(sum(accepted), 0), 1) AS converted_pct
FROM analytics.funnel
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger
ORDER BY converted_pct DESC NULLS LAST, trigger

-- part: Readers
-- asks: How far do machines inflate the open and click rates?
-- reads: Shares of accepted mails. `opened_pct` has people and unknown, `surely_opened_pct` leaves proxies out, and
--   `with_machines` is what a tool says that cannot tell, or more: a mail that both a person and a machine clicked counts
--   as two, up to all accepted mails.
-- plot: bars x=trigger y=clicked_with_machines_pct
SELECT trigger, sum(accepted) AS accepted,
       round(100.0 * sum(opened) / nullif(sum(accepted), 0), 1) AS opened_pct,
       round(100.0 * sum(opened_without_proxies) / nullif(sum(accepted), 0), 1) AS surely_opened_pct,
       round(100.0 * sum(clicked) / nullif(sum(accepted), 0), 1) AS clicked_pct,
       round(100.0 * sum(clicked_by_people) / nullif(sum(accepted), 0), 1) AS surely_clicked_pct,
       round(100.0 * least(sum(accepted), sum(clicked + clicked_by_machines)) / nullif(sum(accepted), 0), 1)
           AS clicked_with_machines_pct
FROM analytics.results
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
GROUP BY trigger
ORDER BY accepted DESC, trigger

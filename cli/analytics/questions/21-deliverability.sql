-- part: Deliverability
-- asks: How do providers take our mails?
-- reads: Unique mails by the day of their send. A deferred mail was put off at some time, and most are accepted later.
--   `accepted_pct` may be too low: a mail that was in doubt and then accepted counts as two, one of them not accepted. A low
--   open rate at one provider alone is a sign of its spam folder.
-- plot: bars x=provider y=accepted_pct
SELECT provider, sum(accepted) AS accepted, sum(deferred) AS deferred, sum(refused) AS refused, sum(bounced) AS bounced,
       sum(complained) AS complained,
       round(100.0 * sum(accepted) / nullif(sum(accepted + refused + undelivered), 0), 2) AS accepted_pct,
       round(100.0 * sum(bounced) / nullif(sum(accepted), 0), 2) AS bounced_pct,
       round(1000.0 * sum(complained) / nullif(sum(accepted), 0), 2) AS complained_per_1000,
       round(100.0 * sum(opened) / nullif(sum(accepted), 0), 1) AS opened_pct
FROM analytics.deliverability
WHERE day >= :'since' AND day < :'until'
GROUP BY provider
ORDER BY accepted DESC, provider

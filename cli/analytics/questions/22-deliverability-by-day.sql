-- part: Deliverability
-- asks: Since when does a provider put off or refuse our mails?
-- reads: Of the mails of each day, about the share that the provider put off at some time, or refused: a mail that was put
--   off and then refused counts as two, up to all mails.
-- plot: lines x=day y=trouble_pct by=provider
SELECT day, provider, sum(accepted) AS accepted, sum(deferred) AS deferred, sum(refused) AS refused,
       round(100.0 * least(sum(accepted + refused + undelivered), sum(deferred + refused))
             / nullif(sum(accepted + refused + undelivered), 0), 2) AS trouble_pct
FROM analytics.deliverability
WHERE day >= :'since' AND day < :'until'
GROUP BY day, provider
ORDER BY day, provider

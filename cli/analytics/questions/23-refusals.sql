-- part: Deliverability
-- asks: What do receivers object to?
-- reads: Answers by class (docs/delivery.md) and provider; each attempt is an answer.
-- plot: bars x=classification y=answers by=provider
SELECT provider, kind, classification, sum(answers) AS answers, sum(first_attempts) AS first_attempts
FROM analytics.deliveries
WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger' AND kind IN ('deferred', 'refused', 'failed')
GROUP BY provider, kind, classification
ORDER BY answers DESC, provider, kind, classification

-- part: Readers
-- asks: Which triggers are clicked, and how sure is that?
-- reads: Clicks of people and unknown, of accepted mails, with Wilson's interval of 95 % (1927). Triggers whose intervals
--   overlap may as well be equal. Clicks on mails of which no acceptance is known count up to the number of accepted ones.
-- plot: intervals x=trigger y=clicked_pct low=low_pct high=high_pct
SELECT trigger, n AS accepted, k AS clicked, round(100.0 * k / n, 2) AS clicked_pct,
       round(100 * (k + 1.9207 - 1.96 * sqrt(k * (n - k) / n + 0.9604)) / (n + 3.8416), 2) AS low_pct,
       round(100 * (k + 1.9207 + 1.96 * sqrt(k * (n - k) / n + 0.9604)) / (n + 3.8416), 2) AS high_pct
FROM (
    SELECT trigger, sum(accepted) AS n, least(sum(accepted), sum(clicked)) AS k
    FROM analytics.results
    WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
    GROUP BY trigger
) AS counts
WHERE n > 0
ORDER BY clicked_pct DESC, trigger

-- part: Readers
-- asks: At which hour of the day are mails clicked most?
-- reads: By the hour of the send in the zone of the setting. It shows what was, and no cause: what goes out at night is
--   other mail than by day.
-- setting: zone=UTC The zone of the hours, such as Europe/Berlin.
-- plot: bars x=hour y=clicked_pct
WITH by_hour AS (
    SELECT hour, sum(accepted) AS accepted, sum(clicked) AS clicked
    FROM analytics.results_by_hour
    WHERE hour >= :'since'::timestamp AT TIME ZONE 'UTC' AND hour < :'until'::timestamp AT TIME ZONE 'UTC'
      AND trigger LIKE :'trigger'
    GROUP BY hour
)
SELECT extract(hour FROM hour AT TIME ZONE :'zone')::integer AS hour, sum(accepted) AS accepted,
       sum(clicked) AS clicked, round(100.0 * sum(clicked) / nullif(sum(accepted), 0), 2) AS clicked_pct
FROM by_hour
GROUP BY 1
ORDER BY 1

-- The paths that ended on the days from `since` on and before `until`, by a conversion or by as long as `lookback`
-- without a click.
--
-- A touch is a click on a mail that no machine is known to have made, one a mail and day. A path has the touches of
-- `lookback` before its end and after the conversion before, the last eight of them. A person who is held out has none,
-- and people who were erased are left out: nothing tells them apart. What no event tells apart any more (`ebbtide privacy
-- retain` forgets them), the time does.
-- `decayed` gives each touch of a conversion half the weight for each half-life before it; those of a path sum to 1.
WITH clicks AS (
    SELECT user_id, min(time) AS time, trigger
    FROM engagement
    WHERE kind = 'clicked' AND machine IS NOT TRUE AND trigger IS NOT NULL AND NOT starts_with(user_id, '(erased)')
      AND time >= %(since)s - %(lookback)s AND time < %(until)s + %(lookback)s
    GROUP BY user_id, trigger, command_id, time_bucket('1 day', time)
), conversions AS (
    SELECT user_id, min(time) AS time
    FROM decisions
    WHERE outcome = 'goal' AND NOT starts_with(user_id, '(erased)')
      AND time >= %(since)s - %(lookback)s AND time < %(until)s + %(lookback)s
    GROUP BY user_id, event_ids, CASE WHEN event_ids = '{}' THEN time END
), steps AS (
    SELECT user_id, time, trigger FROM clicks
    UNION ALL
    SELECT user_id, time, NULL FROM conversions
), journeys AS (
    SELECT user_id, time, trigger,
           count(*) FILTER (WHERE trigger IS NULL) OVER earlier AS journey,
           lead(time) OVER (PARTITION BY user_id ORDER BY time, trigger) AS following
    FROM steps
    WINDOW earlier AS (PARTITION BY user_id ORDER BY time, trigger ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), paths AS (
    SELECT time, trigger IS NULL AS won, following,
           array_agg(trigger) FILTER (WHERE trigger IS NOT NULL) OVER back AS touches,
           array_agg(time) FILTER (WHERE trigger IS NOT NULL) OVER back AS times
    FROM journeys
    WINDOW back AS (PARTITION BY user_id, journey ORDER BY time RANGE BETWEEN %(lookback)s PRECEDING AND CURRENT ROW)
), ended AS (
    SELECT row_number() OVER () AS number, (time AT TIME ZONE 'UTC')::date AS day, time, won,
           touches[greatest(1, cardinality(touches) - 7):] AS touches, times[greatest(1, cardinality(times) - 7):] AS times
    FROM paths
    WHERE time >= %(since)s AND time < %(until)s AND touches IS NOT NULL
      AND (won OR (following IS NULL OR following > time + %(lookback)s)
                  AND time + %(lookback)s <= %(known_until)s)
), weights AS (
    SELECT number, place, power(0.5, extract(epoch FROM ended.time - touched) / extract(epoch FROM %(half_life)s)) AS weight
    FROM ended, unnest(times) WITH ORDINALITY AS touch (touched, place)
    WHERE won
), shares AS (
    SELECT day, touches, place, sum(weight / whole) AS share
    FROM (SELECT number, place, weight, sum(weight) OVER (PARTITION BY number) AS whole FROM weights) AS each
    JOIN ended USING (number)
    GROUP BY day, touches, place
), decays AS (
    SELECT day, touches, array_agg(share ORDER BY place) AS decayed FROM shares GROUP BY day, touches
)
SELECT day, touches, count(*) FILTER (WHERE won) AS won, count(*) FILTER (WHERE NOT won) AS lost,
       coalesce(decayed, array_fill(0::double precision, ARRAY[cardinality(touches)])) AS decayed
FROM ended LEFT JOIN decays USING (day, touches)
GROUP BY day, touches, decayed

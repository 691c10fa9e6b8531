-- The views of `analytics` that read rollups, computed from the rows instead: the same names, columns and results.

CREATE VIEW raw_analytics.decisions AS
SELECT (time AT TIME ZONE 'UTC')::date AS day, trigger, step, coalesce(variant, '') AS variant, outcome,
       coalesce(reason, '') AS reason, count(*) AS decisions
FROM public.decisions
GROUP BY 1, 2, 3, 4, 5, 6;

CREATE VIEW raw_analytics.deliveries AS
SELECT (time AT TIME ZONE 'UTC')::date AS day, coalesce(trigger, '') AS trigger, coalesce(step, '') AS step,
       coalesce(variant, '') AS variant, coalesce(purpose, '') AS purpose, coalesce(brand, '') AS brand,
       provider, kind,
       split_part(coalesce(classification, ''), ':', 1) AS classification,
       count(*) AS answers, count(*) FILTER (WHERE attempt <= 1) AS first_attempts
FROM public.deliveries
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;

CREATE VIEW raw_analytics.engagement AS
SELECT (time AT TIME ZONE 'UTC')::date AS day, coalesce(trigger, '') AS trigger, coalesce(step, '') AS step,
       coalesce(variant, '') AS variant, coalesce(purpose, '') AS purpose, coalesce(brand, '') AS brand,
       kind,
       CASE machine WHEN true THEN 'machine' WHEN false THEN 'person' ELSE 'unknown' END AS actor,
       coalesce(evidence, '') AS evidence, count(*) AS facts
FROM public.engagement
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;

CREATE VIEW raw_analytics.mails AS
WITH answers AS (
    SELECT command_id, max(provider) AS provider, max(coalesce(purpose, '')) AS purpose,
           max(coalesce(brand, '')) AS brand,
           min(time) FILTER (WHERE kind = 'accepted') AS accepted_at,
           bool_or(kind = 'deferred') AS deferred, bool_or(kind = 'refused') AS refused,
           bool_or(kind = 'expired') AS expired, bool_or(kind = 'suppressed') AS suppressed,
           bool_or(kind = 'failed') AS failed, bool_or(kind = 'in_doubt') AS in_doubt
    FROM public.deliveries
    GROUP BY command_id
), readers AS (
    SELECT command_id, bool_or(kind = 'bounced') AS bounced, bool_or(kind = 'complained') AS complained,
           bool_or(kind = 'unsubscribed') AS unsubscribed,
           bool_or(kind = 'opened' AND machine IS NOT TRUE) AS opened,
           bool_or(kind = 'opened' AND machine IS FALSE) AS opened_by_people,
           bool_or(kind = 'opened' AND machine IS NOT TRUE AND evidence IS DISTINCT FROM 'proxy') AS opened_without_proxies,
           bool_or(kind = 'opened' AND machine) AS opened_by_machines,
           bool_or(kind = 'clicked' AND machine IS NOT TRUE) AS clicked,
           bool_or(kind = 'clicked' AND machine IS FALSE) AS clicked_by_people,
           bool_or(kind = 'clicked' AND machine) AS clicked_by_machines,
           min(time) FILTER (WHERE kind = 'clicked' AND machine IS FALSE) AS clicked_at
    FROM public.engagement
    GROUP BY command_id
), goals AS (
    SELECT DISTINCT command_id, true AS converted FROM public.decisions WHERE outcome = 'goal' AND command_id IS NOT NULL
)
SELECT ledger_key(command_id) AS command, sends.time AS decided_at, sends.user_id, sends.trigger, sends.step,
       coalesce(sends.variant, '') AS variant, coalesce(purpose, '') AS purpose,
       coalesce(brand, '') AS brand, coalesce(provider, '') AS provider,
       accepted_at IS NOT NULL AS accepted, accepted_at, clicked_at, deferred, refused, expired, suppressed, failed,
       in_doubt, bounced, complained, unsubscribed, opened, opened_by_people, opened_without_proxies, opened_by_machines,
       clicked, clicked_by_people, clicked_by_machines, converted
FROM (SELECT * FROM public.decisions WHERE outcome = 'send') AS sends
LEFT JOIN answers USING (command_id) LEFT JOIN readers USING (command_id) LEFT JOIN goals USING (command_id)
WHERE coalesce(answers.command_id, readers.command_id, goals.command_id) IS NOT NULL;

CREATE VIEW raw_analytics.results AS
SELECT (decided_at AT TIME ZONE 'UTC')::date AS day, trigger, step, variant, purpose, brand, provider,
       count(*) FILTER (WHERE accepted) AS accepted, count(*) FILTER (WHERE deferred) AS deferred,
       count(*) FILTER (WHERE refused) AS refused, count(*) FILTER (WHERE expired) AS expired,
       count(*) FILTER (WHERE suppressed) AS suppressed, count(*) FILTER (WHERE failed) AS failed,
       count(*) FILTER (WHERE in_doubt) AS in_doubt, count(*) FILTER (WHERE bounced) AS bounced,
       count(*) FILTER (WHERE complained) AS complained, count(*) FILTER (WHERE unsubscribed) AS unsubscribed,
       count(*) FILTER (WHERE opened) AS opened, count(*) FILTER (WHERE opened_by_people) AS opened_by_people,
       count(*) FILTER (WHERE opened_without_proxies) AS opened_without_proxies,
       count(*) FILTER (WHERE opened_by_machines) AS opened_by_machines,
       count(*) FILTER (WHERE clicked) AS clicked, count(*) FILTER (WHERE clicked_by_people) AS clicked_by_people,
       count(*) FILTER (WHERE clicked_by_machines) AS clicked_by_machines,
       count(*) FILTER (WHERE converted) AS converted
FROM raw_analytics.mails
GROUP BY 1, 2, 3, 4, 5, 6, 7;

CREATE VIEW raw_analytics.results_by_hour AS
SELECT time_bucket('1 hour', decided_at) AS hour, trigger, step, variant, purpose, brand, provider,
       count(*) FILTER (WHERE accepted) AS accepted, count(*) FILTER (WHERE opened) AS opened,
       count(*) FILTER (WHERE clicked) AS clicked, count(*) FILTER (WHERE clicked_by_people) AS clicked_by_people,
       count(*) FILTER (WHERE unsubscribed) AS unsubscribed, count(*) FILTER (WHERE complained) AS complained,
       count(*) FILTER (WHERE converted) AS converted
FROM raw_analytics.mails
GROUP BY 1, 2, 3, 4, 5, 6, 7;

CREATE VIEW raw_analytics.delays AS
SELECT (decided_at AT TIME ZONE 'UTC')::date AS day, trigger, step, variant, purpose, brand, provider, measure,
       power(2::float8, width_bucket(seconds::float8, powers.of_two)) AS seconds_below, count(*) AS mails
FROM raw_analytics.mails,
     (SELECT array_agg(power(2::float8, n) ORDER BY n) AS of_two FROM generate_series(0, 30) AS n) AS powers,
     LATERAL (VALUES
    ('acceptance', extract(epoch FROM accepted_at - decided_at)), ('click', extract(epoch FROM clicked_at - accepted_at))
) AS of (measure, seconds)
WHERE seconds IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;

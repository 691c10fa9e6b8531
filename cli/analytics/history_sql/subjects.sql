-- The users of each trigger by the day of their first mail, or of the first that the holdout kept back, under variant '';
-- and those of its experiments, by the first of these that has a variant.
--
-- Who is held out at first stays so here, and keeps the first variant: an experiment compares what was intended. Only
-- conversions after that first time count. People who were erased are left out: nothing tells them apart.
WITH met AS (
    SELECT decisions.trigger, decisions.user_id, time, coalesce(decisions.variant, inputs ->> 'variant', '') AS variant,
           outcome = 'held_out' AS held_out, clicked_at IS NOT NULL AS clicked
    FROM decisions LEFT JOIN mails ON mails.command = ledger_key(command_id)
    WHERE outcome IN ('send', 'held_out') AND NOT starts_with(decisions.user_id, '(erased)')
), exposed AS (
    SELECT trigger, user_id, time, '' AS variant, held_out, clicked FROM met
    UNION ALL
    SELECT trigger, user_id, time, variant, held_out, clicked FROM met WHERE variant <> ''
), subjects AS (
    SELECT trigger, user_id, min(time) AS time, (array_agg(variant ORDER BY time))[1] AS variant,
           (array_agg(held_out ORDER BY time))[1] AS held_out, bool_or(clicked) AS clicked
    FROM exposed
    GROUP BY trigger, user_id, variant <> ''
), converted AS (
    SELECT trigger, user_id, max(time) AS last
    FROM decisions
    WHERE outcome = 'goal' AND NOT starts_with(user_id, '(erased)')
    GROUP BY trigger, user_id
)
SELECT (subjects.time AT TIME ZONE 'UTC')::date AS day, trigger, variant, held_out, count(*) AS users,
       count(*) FILTER (WHERE clicked) AS clicked, count(*) FILTER (WHERE last >= subjects.time) AS converted
FROM subjects LEFT JOIN converted USING (trigger, user_id)
GROUP BY 1, trigger, variant, held_out

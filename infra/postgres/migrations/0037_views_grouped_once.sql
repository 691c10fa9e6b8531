-- The funnel and the costs were grouped by the view, and again by each question: half of the time of an answer. Now
-- decisions and mails are rows of their own, which questions sum; the columns stay.

CREATE OR REPLACE VIEW analytics.funnel AS
SELECT day, trigger, step, variant,
       CASE WHEN outcome IN ('send', 'drop', 'held_out', 'shadow') THEN decisions ELSE 0 END AS events,
       CASE WHEN outcome = 'held_out' THEN decisions ELSE 0 END AS held_out,
       CASE WHEN outcome = 'drop' AND reason = 'cap' THEN decisions ELSE 0 END AS capped,
       CASE WHEN outcome = 'drop' AND reason = 'quiet' THEN decisions ELSE 0 END AS quiet,
       CASE WHEN outcome = 'drop' AND reason = 'expired' THEN decisions ELSE 0 END AS expired,
       CASE WHEN outcome = 'drop' AND reason = 'no_consent' THEN decisions ELSE 0 END AS no_consent,
       CASE WHEN outcome = 'shadow'
              OR outcome = 'drop' AND reason NOT IN ('cap', 'quiet', 'expired', 'no_consent')
            THEN decisions ELSE 0 END AS withheld,
       CASE WHEN outcome = 'send' THEN decisions ELSE 0 END AS sent,
       0::bigint AS accepted, 0::bigint AS opened, 0::bigint AS clicked, 0::bigint AS converted,
       CASE WHEN outcome = 'defer' AND reason = 'cap' THEN decisions ELSE 0 END AS waited_cap,
       CASE WHEN outcome = 'defer' AND reason = 'quiet' THEN decisions ELSE 0 END AS waited_quiet
FROM analytics.decisions
UNION ALL
SELECT day, trigger, step, variant, 0, 0, 0, 0, 0, 0, 0, 0, accepted, opened, clicked, converted, 0, 0
FROM analytics.results;
COMMENT ON VIEW analytics.funnel IS 
    'From event to conversion, rows to sum by day, trigger, step or variant: events = held_out + capped + quiet + expired + no_consent + withheld + sent.';

CREATE OR REPLACE VIEW analytics.costs AS
SELECT day, trigger, answers AS attempts, 0::bigint AS accepted, 0::bigint AS clicked, 0::bigint AS converted,
       0::bigint AS unsubscribed
FROM analytics.deliveries
WHERE kind IN ('accepted', 'deferred', 'refused', 'failed', 'in_doubt')
UNION ALL
SELECT day, trigger, 0, accepted, clicked, converted, unsubscribed FROM analytics.results;
COMMENT ON VIEW analytics.costs IS 'What a trigger costs, in mails and attempts, and what it brings: rows to sum.';

-- What analysts read: the schema `analytics`, its views over the rollups, and the role that may read them and no more.
--
-- Names and columns are a promise: new columns may come at the end, none goes. Days are UTC. Mails are unique commands
-- and are credited to the day of their send, so the columns of one row belong to the same mails.

CREATE SCHEMA analytics;
COMMENT ON SCHEMA analytics IS 'The views of analysts (docs/analytics.md). Read-only for the role ebbtide_analyst.';

-- What needs the whole history of each person, computed by `ebbtide analytics histories`. Neither table names anybody.
CREATE TABLE history_paths (
    day     date NOT NULL,
    touches text[] NOT NULL,
    won     bigint NOT NULL,
    lost    bigint NOT NULL,
    decayed double precision[] NOT NULL,
    PRIMARY KEY (day, touches)
);
CREATE TABLE history_subjects (
    day       date NOT NULL,
    trigger   text NOT NULL,
    variant   text NOT NULL,
    held_out  boolean NOT NULL,
    users     bigint NOT NULL,
    clicked   bigint NOT NULL,
    converted bigint NOT NULL,
    PRIMARY KEY (day, trigger, variant, held_out)
);
CREATE INDEX decisions_histories ON decisions (time) WHERE outcome IN ('goal', 'held_out');

CREATE VIEW analytics.decisions AS
SELECT (bucket AT TIME ZONE 'UTC')::date AS day, trigger, step, variant, outcome, reason, n AS decisions
FROM rollup_decisions_day;
COMMENT ON VIEW analytics.decisions IS 'Decisions by day, outcome and reason; reason is empty for a send.';

CREATE VIEW analytics.sends AS
SELECT day, trigger, step, variant, decisions AS sends FROM analytics.decisions WHERE outcome = 'send';
COMMENT ON VIEW analytics.sends IS 'Decisions to send, by day.';

CREATE VIEW analytics.deliveries AS
SELECT (bucket AT TIME ZONE 'UTC')::date AS day, trigger, step, variant, purpose, brand, provider, kind, classification,
       n AS answers, first_attempts
FROM rollup_deliveries_day;
COMMENT ON VIEW analytics.deliveries IS 
    'Delivery''s answers by their own day; an attempt is an answer, and first_attempts those of the first.';

CREATE VIEW analytics.engagement AS
SELECT (bucket AT TIME ZONE 'UTC')::date AS day, trigger, step, variant, purpose, brand, kind, actor, evidence,
       n AS facts
FROM rollup_engagement_day;
COMMENT ON VIEW analytics.engagement IS 
    'What receivers and readers did, by its own day. actor is person, machine or unknown; each open and click counts.';

CREATE VIEW analytics.results AS
SELECT (sent AT TIME ZONE 'UTC')::date AS day, trigger, step, variant, purpose, brand, provider,
       accepted, deferred, refused, expired, suppressed, failed, in_doubt, bounced, complained, unsubscribed,
       opened, opened_by_people, opened_without_proxies, opened_by_machines,
       clicked, clicked_by_people, clicked_by_machines, converted
FROM rollup_mails_day
WHERE accepted + deferred + refused + expired + suppressed + failed + in_doubt + bounced + complained + unsubscribed
      + opened + opened_by_machines + clicked + clicked_by_machines + converted > 0; -- a row of zeros has moved
COMMENT ON VIEW analytics.results IS 
    'What became of the mails of a day, at any time since: unique mails. opened and clicked leave known machines out.';

CREATE VIEW analytics.results_by_hour AS
SELECT sent AS hour, trigger, step, variant, purpose, brand, provider,
       accepted, opened, clicked, clicked_by_people, unsubscribed, complained, converted
FROM rollup_mails_hour;
COMMENT ON VIEW analytics.results_by_hour IS 'The same by the hour of the send.';

CREATE VIEW analytics.funnel AS
SELECT day, trigger, step, variant,
       sum(events)::bigint AS events, sum(held_out)::bigint AS held_out, sum(capped)::bigint AS capped,
       sum(quiet)::bigint AS quiet, sum(expired)::bigint AS expired, sum(no_consent)::bigint AS no_consent,
       sum(withheld)::bigint AS withheld, sum(sent)::bigint AS sent, sum(accepted)::bigint AS accepted,
       sum(opened)::bigint AS opened, sum(clicked)::bigint AS clicked, sum(converted)::bigint AS converted,
       sum(waited_cap)::bigint AS waited_cap, sum(waited_quiet)::bigint AS waited_quiet
FROM (
    SELECT day, trigger, step, variant,
           CASE WHEN outcome IN ('send', 'drop', 'held_out', 'shadow') THEN decisions END AS events,
           CASE WHEN outcome = 'held_out' THEN decisions END AS held_out,
           CASE WHEN outcome = 'drop' AND reason = 'cap' THEN decisions END AS capped,
           CASE WHEN outcome = 'drop' AND reason = 'quiet' THEN decisions END AS quiet,
           CASE WHEN outcome = 'drop' AND reason = 'expired' THEN decisions END AS expired,
           CASE WHEN outcome = 'drop' AND reason = 'no_consent' THEN decisions END AS no_consent,
           CASE WHEN outcome = 'shadow'
                  OR outcome = 'drop' AND reason NOT IN ('cap', 'quiet', 'expired', 'no_consent')
                THEN decisions END AS withheld,
           CASE WHEN outcome = 'send' THEN decisions END AS sent,
           0 AS accepted, 0 AS opened, 0 AS clicked, 0 AS converted,
           CASE WHEN outcome = 'defer' AND reason = 'cap' THEN decisions END AS waited_cap,
           CASE WHEN outcome = 'defer' AND reason = 'quiet' THEN decisions END AS waited_quiet
    FROM analytics.decisions
    UNION ALL
    SELECT day, trigger, step, variant, 0, 0, 0, 0, 0, 0, 0, 0, accepted, opened, clicked, converted, 0, 0
    FROM analytics.results
) AS stages
GROUP BY day, trigger, step, variant;
COMMENT ON VIEW analytics.funnel IS 
    'From event to conversion by day: events = held_out + capped + quiet + expired + no_consent + withheld + sent.';

CREATE VIEW analytics.cohorts AS
SELECT date_trunc('week', day::timestamp)::date AS week, trigger,
       sum(accepted)::bigint AS mails, sum(opened)::bigint AS opened, sum(clicked)::bigint AS clicked,
       sum(converted)::bigint AS converted, sum(unsubscribed)::bigint AS unsubscribed,
       sum(complained)::bigint AS complained
FROM analytics.results
GROUP BY 1, trigger;
COMMENT ON VIEW analytics.cohorts IS 'The mails of each week, from Monday, and what their readers did since.';

CREATE VIEW analytics.experiments AS
SELECT day, trigger, variant, users, clicked, converted FROM history_subjects WHERE variant <> '' AND NOT held_out;
COMMENT ON VIEW analytics.experiments IS 
    'Users by the day of their first mail of a trigger and its variant, and how many clicked and converted.';

CREATE VIEW analytics.holdouts AS
SELECT day, trigger, CASE WHEN held_out THEN 'held out' ELSE 'mailed' END AS arm,
       sum(users)::bigint AS users, sum(converted)::bigint AS converted
FROM history_subjects
WHERE trigger IN (SELECT trigger FROM history_subjects WHERE held_out)
GROUP BY day, trigger, held_out;
COMMENT ON VIEW analytics.holdouts IS 
    'Users by the day of their first mail, or of the first that was held back, and how many converted.';

CREATE VIEW analytics.paths AS
SELECT day, touches, won, lost, decayed FROM history_paths;
COMMENT ON VIEW analytics.paths IS 
    'The triggers whose mails a person clicked, oldest first, until a conversion (won) or 30 days without one (lost).';

CREATE VIEW analytics.deliverability AS
SELECT day, provider, sum(accepted)::bigint AS accepted, sum(deferred)::bigint AS deferred,
       sum(refused)::bigint AS refused, sum(failed + expired + in_doubt)::bigint AS undelivered,
       sum(bounced)::bigint AS bounced, sum(complained)::bigint AS complained,
       sum(unsubscribed)::bigint AS unsubscribed, sum(opened)::bigint AS opened
FROM analytics.results
GROUP BY day, provider;
COMMENT ON VIEW analytics.deliverability IS 
    'What each provider did with the mails of a day; deferred are mails that it put off at some time.';

CREATE VIEW analytics.delays AS
SELECT (sent AT TIME ZONE 'UTC')::date AS day, trigger, step, variant, purpose, brand, provider, measure,
       seconds_below, mails
FROM rollup_delays_day;
COMMENT ON VIEW analytics.delays IS 
    'How long mails took: by measure acceptance since the decision, by click from acceptance to the first of a person.';

CREATE VIEW analytics.costs AS
SELECT day, trigger, sum(attempts)::bigint AS attempts, sum(accepted)::bigint AS accepted,
       sum(clicked)::bigint AS clicked, sum(converted)::bigint AS converted, sum(unsubscribed)::bigint AS unsubscribed
FROM (
    SELECT day, trigger, answers AS attempts, 0 AS accepted, 0 AS clicked, 0 AS converted, 0 AS unsubscribed
    FROM analytics.deliveries WHERE kind IN ('accepted', 'deferred', 'refused', 'failed', 'in_doubt')
    UNION ALL
    SELECT day, trigger, 0, accepted, clicked, converted, unsubscribed FROM analytics.results
) AS parts
GROUP BY day, trigger;
COMMENT ON VIEW analytics.costs IS 'What a trigger costs, in mails and attempts, and what it brings.';

-- The role is one of the server, and other databases of the server may create it at the same time.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'ebbtide_analyst') THEN
        CREATE ROLE ebbtide_analyst NOLOGIN;
        GRANT ebbtide_analyst TO CURRENT_USER; -- for `ebbtide query`, which takes the role on
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'the role ebbtide_analyst is missing, and this user may not create it',
            HINT = 'As an administrator: CREATE ROLE ebbtide_analyst NOLOGIN; then migrate again.';
END $$;

GRANT USAGE ON SCHEMA analytics TO ebbtide_analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO ebbtide_analyst;
-- Withheld is what may hold an address or what a person typed: replies, links, occurrences with keys, inputs, gates.
GRANT SELECT (id, time, trigger, rule_hash, user_id, step, outcome, reason, command_id, variant)
    ON public.decisions TO ebbtide_analyst;
GRANT SELECT (id, time, command_id, user_id, trigger, purpose, kind, provider, code, enhanced, classification, hard,
              classifier_hash, attempt, step, variant, decided_at)
    ON public.deliveries TO ebbtide_analyst;
GRANT SELECT (id, time, command_id, user_id, trigger, purpose, kind, provider, code, enhanced, classification, hard,
              classifier_hash, machine, evidence, step, variant, decided_at)
    ON public.engagement TO ebbtide_analyst;
GRANT SELECT (command, user_id, sent, decided_at, accepted_at, clicked_at, trigger, step, variant, purpose, brand,
              provider)
    ON public.mails TO ebbtide_analyst;

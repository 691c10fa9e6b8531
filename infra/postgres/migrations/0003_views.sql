-- The analysts' views. Their names and columns are a promise: new columns may come at the end, none goes.

CREATE VIEW v_sends_by_day AS
SELECT time_bucket(INTERVAL '1 day', time) AS day, trigger, count(DISTINCT command_id) AS sends
FROM decisions
WHERE outcome = 'send'
GROUP BY day, trigger;
COMMENT ON VIEW v_sends_by_day IS 'Decisions to send, by UTC day and trigger.';

CREATE VIEW v_decisions_by_reason AS
SELECT trigger, outcome, coalesce(reason, '') AS reason, count(*) + sum(repeated)::bigint AS decisions
FROM decisions
GROUP BY trigger, outcome, coalesce(reason, '');
COMMENT ON VIEW v_decisions_by_reason IS 'Decisions by trigger, outcome and reason; repeats within the hour counted.';

CREATE VIEW v_delivery_results AS
SELECT trigger, purpose, kind, code, enhanced, classification,
       count(*) AS answers, count(DISTINCT command_id) AS commands
FROM deliveries
GROUP BY trigger, purpose, kind, code, enhanced, classification;
COMMENT ON VIEW v_delivery_results IS 'Delivery answers by trigger, kind and SMTP reply; an attempt is an answer.';

CREATE VIEW v_delivery_state AS
SELECT trigger, purpose, state, coalesce(reason, '') AS reason, count(*) AS commands
FROM ledger
GROUP BY trigger, purpose, state, coalesce(reason, '');
COMMENT ON VIEW v_delivery_state IS 'Where each command stands now: terminal + waiting + in_doubt = commands.';

CREATE VIEW v_engagement_by_trigger AS
WITH accepted AS (
    SELECT trigger, count(DISTINCT command_id) AS mails FROM deliveries WHERE kind = 'accepted' GROUP BY trigger
), reader AS (
    SELECT trigger,
           count(DISTINCT command_id) FILTER (WHERE kind = 'opened' AND machine IS NOT TRUE) AS opened,
           count(DISTINCT command_id) FILTER (WHERE kind = 'clicked' AND machine IS NOT TRUE) AS clicked,
           count(DISTINCT command_id) FILTER (WHERE kind = 'unsubscribed') AS unsubscribed,
           count(DISTINCT command_id) FILTER (WHERE kind = 'complained') AS complained,
           count(DISTINCT command_id) FILTER (WHERE kind = 'bounced') AS bounced
    FROM engagement GROUP BY trigger
)
SELECT a.trigger, a.mails,
       coalesce(r.opened, 0) AS opened, coalesce(r.clicked, 0) AS clicked,
       coalesce(r.unsubscribed, 0) AS unsubscribed, coalesce(r.complained, 0) AS complained,
       coalesce(r.bounced, 0) AS bounced,
       round(coalesce(r.opened, 0)::numeric / a.mails, 4) AS open_rate,
       round(coalesce(r.clicked, 0)::numeric / a.mails, 4) AS click_rate
FROM accepted a LEFT JOIN reader r USING (trigger);
COMMENT ON VIEW v_engagement_by_trigger IS 'Accepted mails and what readers did with them, known machines left out.';

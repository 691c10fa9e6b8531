-- What people did for sure, beside what was not known to be a machine's: proxies open mails for readers and for nobody.

CREATE OR REPLACE VIEW v_engagement_by_trigger AS
WITH accepted AS (
    SELECT trigger, count(DISTINCT command_id) AS mails FROM deliveries WHERE kind = 'accepted' GROUP BY trigger
), reader AS (
    SELECT trigger,
           count(DISTINCT command_id) FILTER (WHERE kind = 'opened' AND machine IS NOT TRUE) AS opened,
           count(DISTINCT command_id) FILTER (WHERE kind = 'clicked' AND machine IS NOT TRUE) AS clicked,
           count(DISTINCT command_id) FILTER (WHERE kind = 'unsubscribed') AS unsubscribed,
           count(DISTINCT command_id) FILTER (WHERE kind = 'complained') AS complained,
           count(DISTINCT command_id) FILTER (WHERE kind = 'bounced') AS bounced,
           count(DISTINCT command_id) FILTER (WHERE kind = 'opened' AND machine IS NOT TRUE
                                              AND evidence IS DISTINCT FROM 'proxy') AS opened_without_proxies,
           count(DISTINCT command_id) FILTER (WHERE kind = 'clicked' AND machine IS FALSE) AS clicked_by_people
    FROM engagement GROUP BY trigger
)
SELECT a.trigger, a.mails,
       coalesce(r.opened, 0) AS opened, coalesce(r.clicked, 0) AS clicked,
       coalesce(r.unsubscribed, 0) AS unsubscribed, coalesce(r.complained, 0) AS complained,
       coalesce(r.bounced, 0) AS bounced,
       round(coalesce(r.opened, 0)::numeric / a.mails, 4) AS open_rate,
       round(coalesce(r.clicked, 0)::numeric / a.mails, 4) AS click_rate,
       coalesce(r.opened_without_proxies, 0) AS opened_without_proxies,
       coalesce(r.clicked_by_people, 0) AS clicked_by_people
FROM accepted a LEFT JOIN reader r USING (trigger);
COMMENT ON VIEW v_engagement_by_trigger IS 'Accepted mails and what readers did with them, known machines left out.';

-- Without statistics of the day, which is an expression, the planner expects a handful of rows, and sorts tens of
-- thousands of texts where it could hash them.

CREATE STATISTICS rollup_decisions_day_days ON ((bucket AT TIME ZONE 'UTC')::date) FROM rollup_decisions_day;
CREATE STATISTICS rollup_deliveries_day_days ON ((bucket AT TIME ZONE 'UTC')::date) FROM rollup_deliveries_day;
CREATE STATISTICS rollup_engagement_day_days ON ((bucket AT TIME ZONE 'UTC')::date) FROM rollup_engagement_day;
CREATE STATISTICS rollup_mails_day_days ON ((sent AT TIME ZONE 'UTC')::date) FROM rollup_mails_day;
CREATE STATISTICS rollup_delays_day_days ON ((sent AT TIME ZONE 'UTC')::date) FROM rollup_delays_day;
ANALYZE rollup_decisions_day, rollup_deliveries_day, rollup_engagement_day, rollup_mails_day, rollup_delays_day;

CREATE OR REPLACE VIEW analytics.results AS
SELECT (sent AT TIME ZONE 'UTC')::date AS day, trigger, step, variant, purpose, brand, provider,
       accepted, deferred, refused, expired, suppressed, failed, in_doubt, bounced, complained, unsubscribed,
       opened, opened_by_people, opened_without_proxies, opened_by_machines,
       clicked, clicked_by_people, clicked_by_machines, converted
FROM rollup_mails_day
WHERE accepted > 0 OR deferred > 0 OR refused > 0 OR expired > 0 OR suppressed > 0 OR failed > 0 OR in_doubt > 0
      OR bounced > 0 OR complained > 0 OR unsubscribed > 0 OR opened > 0 OR opened_by_machines > 0 OR clicked > 0
      OR clicked_by_machines > 0 OR converted > 0; -- a row of zeros has moved

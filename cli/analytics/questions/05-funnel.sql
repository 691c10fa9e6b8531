-- part: The funnel
-- asks: From event to conversion, where are mails lost?
-- reads: The lines of `lost:` are the parts of the loss before `sent`. Opens and clicks leave known machines out, and are
--   those of the mails of this period at any time since. Who has images blocked can click without an open, and convert
--   without a click.
-- plot: bars x=stage y=mails
WITH sums AS (
    SELECT sum(events) AS events, sum(held_out) AS held_out, sum(capped) AS capped, sum(quiet) AS quiet,
           sum(expired) AS expired, sum(no_consent) AS no_consent, sum(withheld) AS withheld, sum(sent) AS sent,
           sum(accepted) AS accepted, sum(opened) AS opened, sum(clicked) AS clicked, sum(converted) AS converted
    FROM analytics.funnel
    WHERE day >= :'since' AND day < :'until' AND trigger LIKE :'trigger'
)
SELECT stage, mails, lost, round(100.0 * coalesce(mails, lost) / nullif(events, 0), 1) AS of_events_pct
FROM sums, LATERAL (VALUES
    (1, 'event', events, NULL),
    (2, 'lost: held out', NULL, held_out),
    (3, 'lost: capped', NULL, capped),
    (4, 'lost: quiet hours', NULL, quiet),
    (5, 'lost: waited too long', NULL, expired),
    (6, 'lost: no consent', NULL, no_consent),
    (7, 'lost: other reasons', NULL, withheld),
    (8, 'sent', sent, events - sent),
    (9, 'accepted', accepted, sent - accepted),
    (10, 'opened', opened, accepted - opened),
    (11, 'clicked', clicked, opened - clicked),
    (12, 'converted', converted, clicked - converted)
) AS stages (place, stage, mails, lost)
ORDER BY place

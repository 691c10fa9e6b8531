-- What analysts sum up, kept by the recorder in the transaction of the rows: by the time of each fact, and, for what is
-- counted once a command, by the time of its send. Nothing here names a person but `mails`.
--
-- Key columns are never null: '' stands for what is unknown. A row of zeros means nothing.

CREATE TABLE mails (
    command     uuid PRIMARY KEY,
    sent        timestamptz NOT NULL,
    decided_at  timestamptz,
    accepted_at timestamptz,
    clicked_at  timestamptz,
    seen        integer NOT NULL,
    user_id     text NOT NULL,
    trigger     text NOT NULL,
    step        text NOT NULL,
    variant     text NOT NULL,
    purpose     text NOT NULL,
    brand       text NOT NULL,
    provider    text NOT NULL
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
CREATE INDEX mails_sent ON mails USING brin (sent);
CREATE INDEX mails_user ON mails (user_id);
COMMENT ON TABLE mails IS 'Each command of which delivery, a reader or a goal said something, so that rollups count it once.';
COMMENT ON COLUMN mails.sent IS 'When it was decided; if no fact says so, when a server took it; if none did, 1970.';
COMMENT ON COLUMN mails.clicked_at IS 'The first click by a person.';
COMMENT ON COLUMN mails.seen IS 'What happened to it, a bit each (senders/recording/seen.py).';

CREATE TABLE rollup_decisions_hour (
    bucket  timestamptz NOT NULL,
    trigger text NOT NULL,
    step    text NOT NULL,
    variant text NOT NULL,
    purpose text NOT NULL,
    brand   text NOT NULL,
    outcome text NOT NULL,
    reason  text NOT NULL,
    n       bigint NOT NULL,
    PRIMARY KEY (bucket, trigger, step, variant, purpose, brand, outcome, reason)
) WITH (fillfactor = 70);
CREATE TABLE rollup_decisions_day (LIKE rollup_decisions_hour INCLUDING INDEXES) WITH (fillfactor = 70);
COMMENT ON TABLE rollup_decisions_hour IS 'How many decisions, by the hour (UTC) of the decision.';
COMMENT ON TABLE rollup_decisions_day IS 'How many decisions, by the day (UTC) of the decision.';

CREATE TABLE rollup_deliveries_hour (
    bucket         timestamptz NOT NULL,
    trigger        text NOT NULL,
    step           text NOT NULL,
    variant        text NOT NULL,
    purpose        text NOT NULL,
    brand          text NOT NULL,
    provider       text NOT NULL,
    kind           text NOT NULL,
    classification text NOT NULL,
    n              bigint NOT NULL,
    first_attempts bigint NOT NULL,
    PRIMARY KEY (bucket, trigger, step, variant, purpose, brand, provider, kind, classification)
) WITH (fillfactor = 70);
CREATE TABLE rollup_deliveries_day (LIKE rollup_deliveries_hour INCLUDING INDEXES) WITH (fillfactor = 70);
COMMENT ON TABLE rollup_deliveries_hour IS 'How many answers of delivery, by the hour (UTC) of the answer.';
COMMENT ON TABLE rollup_deliveries_day IS 'How many answers of delivery, by the day (UTC) of the answer.';
COMMENT ON COLUMN rollup_deliveries_hour.first_attempts IS 'Those to the first mail transaction of a command, or to none.';
COMMENT ON COLUMN rollup_deliveries_day.first_attempts IS 'Those to the first mail transaction of a command, or to none.';

CREATE TABLE rollup_engagement_hour (
    bucket   timestamptz NOT NULL,
    trigger  text NOT NULL,
    step     text NOT NULL,
    variant  text NOT NULL,
    purpose  text NOT NULL,
    brand    text NOT NULL,
    kind     text NOT NULL,
    actor    text NOT NULL,
    evidence text NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (bucket, trigger, step, variant, purpose, brand, kind, actor, evidence)
) WITH (fillfactor = 70);
CREATE TABLE rollup_engagement_day (LIKE rollup_engagement_hour INCLUDING INDEXES) WITH (fillfactor = 70);
COMMENT ON TABLE rollup_engagement_hour IS 'How many facts of receivers and readers, by the hour (UTC) of the fact.';
COMMENT ON TABLE rollup_engagement_day IS 'How many facts of receivers and readers, by the day (UTC) of the fact.';
COMMENT ON COLUMN rollup_engagement_hour.actor IS 'person, machine or unknown.';
COMMENT ON COLUMN rollup_engagement_day.actor IS 'person, machine or unknown.';

CREATE TABLE rollup_mails_hour (
    sent                   timestamptz NOT NULL,
    trigger                text NOT NULL,
    step                   text NOT NULL,
    variant                text NOT NULL,
    purpose                text NOT NULL,
    brand                  text NOT NULL,
    provider               text NOT NULL,
    accepted               bigint NOT NULL,
    deferred               bigint NOT NULL,
    refused                bigint NOT NULL,
    expired                bigint NOT NULL,
    suppressed             bigint NOT NULL,
    failed                 bigint NOT NULL,
    in_doubt               bigint NOT NULL,
    bounced                bigint NOT NULL,
    complained             bigint NOT NULL,
    unsubscribed           bigint NOT NULL,
    opened                 bigint NOT NULL,
    opened_by_people       bigint NOT NULL,
    opened_without_proxies bigint NOT NULL,
    opened_by_machines     bigint NOT NULL,
    clicked                bigint NOT NULL,
    clicked_by_people      bigint NOT NULL,
    clicked_by_machines    bigint NOT NULL,
    converted              bigint NOT NULL,
    PRIMARY KEY (sent, trigger, step, variant, purpose, brand, provider)
) WITH (fillfactor = 70);
CREATE TABLE rollup_mails_day (LIKE rollup_mails_hour INCLUDING INDEXES) WITH (fillfactor = 70);
COMMENT ON TABLE rollup_mails_hour IS 'What became of commands, each counted once a column, by the hour (UTC) of the send.';
COMMENT ON TABLE rollup_mails_day IS 'What became of commands, each counted once a column, by the day (UTC) of the send.';
COMMENT ON COLUMN rollup_mails_hour.opened IS 'By a person or by nobody knows whom: not known to be a machine.';
COMMENT ON COLUMN rollup_mails_day.opened IS 'By a person or by nobody knows whom: not known to be a machine.';
COMMENT ON COLUMN rollup_mails_hour.clicked IS 'By a person or by nobody knows whom: not known to be a machine.';
COMMENT ON COLUMN rollup_mails_day.clicked IS 'By a person or by nobody knows whom: not known to be a machine.';

CREATE TABLE rollup_goals_hour (
    sent     timestamptz NOT NULL,
    trigger  text NOT NULL,
    step     text NOT NULL,
    variant  text NOT NULL,
    held_out boolean NOT NULL,
    n        bigint NOT NULL,
    PRIMARY KEY (sent, trigger, step, variant, held_out)
) WITH (fillfactor = 70);
CREATE TABLE rollup_goals_day (LIKE rollup_goals_hour INCLUDING INDEXES) WITH (fillfactor = 70);
COMMENT ON TABLE rollup_goals_hour IS 'How many goals were reached, by the hour (UTC) of the send or hold-out before them.';
COMMENT ON TABLE rollup_goals_day IS 'How many goals were reached, by the day (UTC) of the send or hold-out before them.';

CREATE TABLE rollup_delays_hour (
    sent          timestamptz NOT NULL,
    trigger       text NOT NULL,
    step          text NOT NULL,
    variant       text NOT NULL,
    purpose       text NOT NULL,
    brand         text NOT NULL,
    provider      text NOT NULL,
    measure       text NOT NULL,
    seconds_below double precision NOT NULL,
    mails         bigint NOT NULL,
    PRIMARY KEY (sent, trigger, step, variant, purpose, brand, provider, measure, seconds_below)
) WITH (fillfactor = 70);
CREATE TABLE rollup_delays_day (LIKE rollup_delays_hour INCLUDING INDEXES) WITH (fillfactor = 70);
COMMENT ON TABLE rollup_delays_hour IS 'How many mails took so long, by the hour (UTC) of the send.';
COMMENT ON TABLE rollup_delays_day IS 'How many mails took so long, by the day (UTC) of the send.';
COMMENT ON COLUMN rollup_delays_hour.measure IS 'acceptance: since the decision; click: from the acceptance to the first by a person.';
COMMENT ON COLUMN rollup_delays_day.measure IS 'acceptance: since the decision; click: from the acceptance to the first by a person.';
COMMENT ON COLUMN rollup_delays_hour.seconds_below IS 'The least power of two above the seconds, from 1 on.';
COMMENT ON COLUMN rollup_delays_day.seconds_below IS 'The least power of two above the seconds, from 1 on.';

-- The analysts' hypertables: decisions, deliveries and engagement, in chunks of seven days.
--
-- The edition decides what keeps them small. Under the `timescale` licence TimescaleDB compresses chunks after a month
-- and drops them after two years. Under `apache`, which Debian builds, neither exists: the tables stay plain, and an
-- operator removes old chunks with `SELECT drop_chunks('deliveries', INTERVAL '2 years')`.

CREATE EXTENSION IF NOT EXISTS timescaledb;

CREATE TABLE decisions (
    id         text NOT NULL,
    time       timestamptz NOT NULL,
    trigger    text NOT NULL,
    rule_hash  text NOT NULL,
    user_id    text NOT NULL,
    occurrence text NOT NULL,
    step       text NOT NULL,
    outcome    text NOT NULL,
    reason     text,
    command_id text,
    repeated   bigint NOT NULL,
    event_ids  text[] NOT NULL,
    gates      jsonb NOT NULL,
    inputs     jsonb NOT NULL,
    PRIMARY KEY (id, time)
);
CREATE TABLE deliveries (
    id              text NOT NULL,
    time            timestamptz NOT NULL,
    command_id      text NOT NULL,
    user_id         text NOT NULL,
    trigger         text,
    purpose         text,
    kind            text NOT NULL,
    provider        text NOT NULL,
    code            integer,
    enhanced        text,
    reply           text,
    classification  text,
    classifier_hash text,
    attempt         bigint NOT NULL,
    PRIMARY KEY (id, time)
);
CREATE TABLE engagement (
    id              text NOT NULL,
    time            timestamptz NOT NULL,
    command_id      text NOT NULL,
    user_id         text NOT NULL,
    trigger         text,
    purpose         text,
    kind            text NOT NULL,
    provider        text NOT NULL,
    code            integer,
    enhanced        text,
    reply           text,
    classification  text,
    classifier_hash text,
    machine         boolean,
    url             text,
    PRIMARY KEY (id, time)
);
SELECT create_hypertable('decisions', by_range('time', INTERVAL '7 days'));
SELECT create_hypertable('deliveries', by_range('time', INTERVAL '7 days'));
SELECT create_hypertable('engagement', by_range('time', INTERVAL '7 days'));

CREATE INDEX decisions_trigger ON decisions (trigger, time DESC);
CREATE INDEX decisions_user ON decisions (user_id, time DESC);
CREATE INDEX decisions_command ON decisions (command_id) WHERE command_id IS NOT NULL;
CREATE INDEX deliveries_command ON deliveries (command_id);
CREATE INDEX deliveries_trigger ON deliveries (trigger, time DESC);
CREATE INDEX deliveries_user ON deliveries (user_id, time DESC);
CREATE INDEX engagement_command ON engagement (command_id);
CREATE INDEX engagement_trigger ON engagement (trigger, time DESC);
CREATE INDEX engagement_user ON engagement (user_id, time DESC);
COMMENT ON COLUMN engagement.machine IS 'Whether a machine opened or clicked; null where nobody can tell.';

DO $$
DECLARE
    name text;
BEGIN
    IF current_setting('timescaledb.license') = 'timescale' THEN
        FOREACH name IN ARRAY ARRAY['decisions', 'deliveries', 'engagement'] LOOP
            EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = ''trigger'', '
                           'timescaledb.compress_orderby = ''time DESC'')', name);
            PERFORM add_compression_policy(name::regclass, INTERVAL '30 days');
            PERFORM add_retention_policy(name::regclass, INTERVAL '2 years');
        END LOOP;
    END IF;
END $$;

-- Delivery's tables: the ledger of every command, and the view of recipients that delivery reads before each send.

CREATE TABLE ledger (
    command_id      text PRIMARY KEY,
    partition       integer NOT NULL,
    user_id         text NOT NULL,
    trigger         text NOT NULL,
    purpose         text NOT NULL,
    command         jsonb NOT NULL,
    state           text NOT NULL CHECK (state IN ('admitted', 'started', 'accepted', 'deferred', 'refused',
                                                   'expired', 'suppressed', 'failed', 'in_doubt')),
    reason          text,
    detail          text,
    attempt         integer NOT NULL DEFAULT 0,
    admitted_at     timestamptz NOT NULL,
    started_at      timestamptz,
    state_at        timestamptz NOT NULL,
    next_attempt_at timestamptz,
    owner           text,
    message_id      text,
    address_hash    bytea,
    reply           jsonb,
    unannounced     boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
COMMENT ON TABLE ledger IS 'Every send command and what became of it; one row a command, kept 35 days.';
COMMENT ON COLUMN ledger.next_attempt_at IS 'When delivery takes the command up again; null: never by itself.';
COMMENT ON COLUMN ledger.owner IS 'The worker process that started the last attempt.';
COMMENT ON COLUMN ledger.unannounced IS 'Whether the state still has to be told on the topic outcomes.';

CREATE INDEX ledger_due ON ledger (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX ledger_unannounced ON ledger (state_at) WHERE unannounced;
CREATE INDEX ledger_started ON ledger (partition) WHERE state = 'started';
CREATE INDEX ledger_user ON ledger (user_id, admitted_at);

CREATE TABLE recipients (
    user_id    text PRIMARY KEY,
    address    text,
    zone       text,
    locale     text,
    attributes jsonb NOT NULL DEFAULT '{}',
    consent    jsonb NOT NULL DEFAULT '{}',
    known_at   timestamptz NOT NULL
);
COMMENT ON TABLE recipients IS 'The last profile of each user, as the topic profiles tells it.';

CREATE TABLE suppressions (
    address_hash bytea NOT NULL,
    scope        text NOT NULL,
    reason       text NOT NULL,
    since        timestamptz NOT NULL,
    command_id   text,
    PRIMARY KEY (address_hash, scope)
);
COMMENT ON TABLE suppressions IS 'Addresses that get no mail, by keyed hash; scope is a purpose, or * for all.';

CREATE TABLE recipients_progress (
    topic       text NOT NULL,
    partition   integer NOT NULL,
    next_offset bigint NOT NULL,
    as_of       timestamptz NOT NULL,
    PRIMARY KEY (topic, partition)
);
COMMENT ON TABLE recipients_progress IS 'All that the topic held before as_of is in recipients and suppressions.';

-- The ledger in three parts: a small queue of what waits, outcomes in day partitions, and the ids that were admitted.
-- Old rows leave by dropping partitions. The view `ledger` shows each command once, as the table did.

ALTER TABLE ledger RENAME TO ledger_before;
DROP VIEW v_delivery_state;

CREATE FUNCTION ledger_key(id text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN id ~ '^[0-9a-f]{32}$' THEN id::uuid END;
COMMENT ON FUNCTION ledger_key IS 'The key of a command in the ledger''s tables; null for an id that no command has.';

CREATE TABLE ledger_queue (
    command_id      uuid PRIMARY KEY,
    partition       integer NOT NULL,
    priority        smallint NOT NULL,
    attempt         integer NOT NULL DEFAULT 0,
    admitted_at     timestamptz NOT NULL,
    decided_at      timestamptz NOT NULL,
    next_attempt_at timestamptz,
    state_at        timestamptz NOT NULL,
    started_at      timestamptz,
    hard            boolean NOT NULL DEFAULT false,
    state           text NOT NULL CHECK (state IN ('admitted', 'started', 'deferred', 'in_doubt')),
    owner           text,
    address_hash    bytea,
    reason          text,
    detail          text,
    reply           text,
    classifier_hash text,
    user_id         text NOT NULL,
    trigger         text NOT NULL,
    purpose         text NOT NULL,
    command         bytea NOT NULL
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
COMMENT ON TABLE ledger_queue IS 'Delivery''s queue: the commands that wait, are being sent, or are in doubt.';
COMMENT ON COLUMN ledger_queue.partition IS 'The partition of the topic commands that the command came from.';
COMMENT ON COLUMN ledger_queue.next_attempt_at IS 'When delivery takes the command next; null: no more by itself.';
COMMENT ON COLUMN ledger_queue.owner IS 'The worker that began the last attempt.';
COMMENT ON COLUMN ledger_queue.command IS 'The command as the topic has it.';
-- Besides its key the queue has one index, and no index names `state`: so a transition that leaves the next attempt where
-- it is, such as the begin of each mail, changes no index (a HOT update).
CREATE INDEX ledger_queue_order ON ledger_queue (partition, priority, next_attempt_at);

CREATE TABLE ledger_outcomes (
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    admitted_at     timestamptz NOT NULL,
    started_at      timestamptz,
    state_at        timestamptz NOT NULL,
    command_id      uuid NOT NULL,
    partition       integer NOT NULL,
    attempt         integer NOT NULL,
    hard            boolean NOT NULL,
    state           text NOT NULL,
    address_hash    bytea,
    reason          text,
    detail          text,
    reply           text,
    classifier_hash text,
    user_id         text NOT NULL,
    trigger         text NOT NULL,
    purpose         text NOT NULL
) PARTITION BY RANGE (recorded_at);
CREATE INDEX ledger_outcomes_command ON ledger_outcomes (command_id);
COMMENT ON TABLE ledger_outcomes IS 'Each outcome of delivery, in a partition for each day (UTC). A final one ends its command.';

CREATE TABLE ledger_ids (
    command_id  uuid NOT NULL,
    admitted_on date NOT NULL
) PARTITION BY RANGE (admitted_on);
COMMENT ON TABLE ledger_ids IS 'The ids of the commands admitted, in a partition for each week, so that none is admitted twice.';

CREATE TABLE ledger_outbox (
    number      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    partition   integer NOT NULL,
    command_id  uuid NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.02);
COMMENT ON TABLE ledger_outbox IS 'The outcomes that are not yet on the topic outcomes.';

CREATE FUNCTION ledger_add_partitions(since date, until date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first date;
    name  text;
BEGIN
    PERFORM pg_advisory_xact_lock(7306119);
    FOR first IN SELECT generate_series(since, until, interval '1 day') LOOP
        name := 'ledger_outcomes_' || to_char(first, 'YYYYMMDD');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE ledger_outcomes INCLUDING DEFAULTS)', name);
            EXECUTE format('ALTER TABLE ledger_outcomes ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           name, first || ' 00:00+00', first + 1 || ' 00:00+00');
        END IF;
    END LOOP;
    FOR first IN SELECT generate_series(date_trunc('week', since), until, interval '1 week') LOOP
        name := 'ledger_ids_' || to_char(first, 'YYYYMMDD');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I (LIKE ledger_ids, UNIQUE (command_id))', name);
            EXECUTE format('ALTER TABLE ledger_ids ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                           name, first, first + 7);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger_add_partitions IS 'Makes the partitions of these days that are missing. Locks no reader or writer out.';

CREATE FUNCTION ledger_drop_partitions(before date) RETURNS TABLE (partition_name text, problem text)
LANGUAGE plpgsql AS $$
BEGIN
    FOR partition_name IN
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'ledger_outcomes'::regclass AND to_date(right(relname, 8), 'YYYYMMDD') + 1 <= before
           OR inhparent = 'ledger_ids'::regclass AND to_date(right(relname, 8), 'YYYYMMDD') + 7 <= before
        ORDER BY relname
    LOOP
        problem := NULL;
        IF partition_name LIKE 'ledger_outcomes_%' AND EXISTS (
            SELECT FROM ledger_outbox
            WHERE recorded_at < (to_date(right(partition_name, 8), 'YYYYMMDD') + 1)::timestamp AT TIME ZONE 'UTC')
        THEN
            problem := 'it has outcomes that are not published';
        ELSE
            BEGIN
                EXECUTE format('DROP TABLE %I', partition_name);
            EXCEPTION WHEN lock_not_available THEN
                problem := 'another session uses it';
            END;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION ledger_drop_partitions IS 'Drops the partitions whose last day is before this one, and says which stay and why.';

SELECT ledger_add_partitions(
    least((now() AT TIME ZONE 'UTC')::date - 1,
          (SELECT (min(least(state_at, admitted_at)) AT TIME ZONE 'UTC')::date FROM ledger_before)),
    (now() AT TIME ZONE 'UTC')::date + 7);

INSERT INTO ledger_ids SELECT command_id::uuid, (least(admitted_at, now()) AT TIME ZONE 'UTC')::date FROM ledger_before;

INSERT INTO ledger_queue
    (command_id, partition, priority, attempt, admitted_at, decided_at, next_attempt_at, state_at, started_at, hard, state,
     owner, address_hash, reason, detail, reply, classifier_hash, user_id, trigger, purpose, command)
SELECT command_id::uuid, partition, coalesce((command ->> 'priority')::smallint, 50), attempt, admitted_at,
       (command ->> 'decided_at')::timestamptz, next_attempt_at, state_at, started_at, hard, state,
       owner, address_hash, reason, detail, reply::text, classifier_hash, user_id, trigger, purpose,
       convert_to(command::text, 'UTF8')
FROM ledger_before WHERE state IN ('admitted', 'started', 'deferred', 'in_doubt');

INSERT INTO ledger_outcomes
    (recorded_at, admitted_at, started_at, state_at, command_id, partition, attempt, hard, state, address_hash, reason,
     detail, reply, classifier_hash, user_id, trigger, purpose)
SELECT least(state_at, now()), admitted_at, started_at, state_at, command_id::uuid, partition, attempt, hard, state,
       address_hash, reason, detail, reply::text, classifier_hash, user_id, trigger, purpose
FROM ledger_before WHERE unpublished OR state NOT IN ('admitted', 'started', 'deferred', 'in_doubt');

INSERT INTO ledger_outbox (recorded_at, partition, command_id)
SELECT least(state_at, now()), partition, command_id::uuid FROM ledger_before WHERE unpublished ORDER BY state_at;

-- The workers of before had no leases: what they began is in doubt.
INSERT INTO ledger_workers (owner, lease_until, renewed_since)
SELECT DISTINCT coalesce(owner, ''), '-infinity'::timestamptz, now() FROM ledger_before WHERE state = 'started'
ON CONFLICT DO NOTHING;

DROP TABLE ledger_before;

CREATE VIEW ledger AS
SELECT replace(command_id::text, '-', '') AS command_id, partition, user_id, trigger, purpose, state, reason, detail,
       attempt, admitted_at, started_at, state_at,
       CASE WHEN state <> 'started' THEN next_attempt_at END AS next_attempt_at, owner, address_hash, reply::jsonb AS reply,
       hard, classifier_hash, command_id AS key
FROM ledger_queue
UNION ALL
SELECT replace(command_id::text, '-', ''), partition, user_id, trigger, purpose, state, reason, detail,
       attempt, admitted_at, started_at, state_at, NULL, NULL, address_hash, reply::jsonb, hard, classifier_hash, command_id
FROM ledger_outcomes WHERE state NOT IN ('deferred', 'in_doubt');
COMMENT ON VIEW ledger IS 'Every send command and what became of it: one row for each command, kept for 35 days.';
COMMENT ON COLUMN ledger.reason IS 'Why the command is in its state, or what it waits for.';
COMMENT ON COLUMN ledger.detail IS 'What the reason concerns, such as a header or a template; never an address.';
COMMENT ON COLUMN ledger.attempt IS 'How many mail transactions were begun.';
COMMENT ON COLUMN ledger.state_at IS 'Since when the command is in its state.';
COMMENT ON COLUMN ledger.next_attempt_at IS 'When delivery takes the command next; null: no more by itself.';
COMMENT ON COLUMN ledger.owner IS 'The worker that began the last attempt, until the command ends.';
COMMENT ON COLUMN ledger.address_hash IS 'The keyed hash of the address that the last attempt went to.';
COMMENT ON COLUMN ledger.reply IS 'The server''s reply to the last attempt: code, enhanced code and text.';
COMMENT ON COLUMN ledger.key IS 'The indexed form of command_id: compare it with ledger_key(id).';

CREATE VIEW v_delivery_state AS
SELECT trigger, purpose, state, coalesce(reason, '') AS reason, count(*) AS commands
FROM ledger
GROUP BY trigger, purpose, state, coalesce(reason, '');
COMMENT ON VIEW v_delivery_state IS 'Where each command stands now: terminal + waiting + in_doubt = commands.';

CREATE VIEW v_delivery_balance AS
WITH since AS (SELECT (now() AT TIME ZONE 'UTC')::date - 34 AS day), standing AS (
    SELECT state FROM ledger, since WHERE (admitted_at AT TIME ZONE 'UTC')::date >= since.day
)
SELECT (SELECT count(*) FROM ledger_ids, since WHERE admitted_on >= since.day) AS commands,
       count(*) FILTER (WHERE state NOT IN ('admitted', 'started', 'deferred', 'in_doubt')) AS terminal,
       count(*) FILTER (WHERE state IN ('admitted', 'started', 'deferred')) AS waiting,
       count(*) FILTER (WHERE state = 'in_doubt') AS in_doubt
FROM standing;
COMMENT ON VIEW v_delivery_balance IS 'The commands admitted in the last 34 days: commands = terminal + waiting + in_doubt, always.';

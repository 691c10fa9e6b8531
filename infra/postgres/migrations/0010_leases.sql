-- Who may begin mails of a partition, and how long what a worker began counts as being in its hands.

CREATE TABLE ledger_partitions (
    partition integer PRIMARY KEY,
    epoch     bigint NOT NULL,
    owner     text NOT NULL,
    taken_at  timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE ledger_partitions IS 'The delivery worker that may begin mails of each partition of the topic commands.';
COMMENT ON COLUMN ledger_partitions.epoch IS 'How often the partition was taken over.';

CREATE TABLE ledger_workers (
    owner       text PRIMARY KEY,
    lease_until timestamptz NOT NULL,
    renewed_since timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE ledger_workers IS 'The lease of each delivery worker: with its end, what it began and did not answer is in doubt.';
COMMENT ON COLUMN ledger_workers.renewed_since IS 'Since when the lease was renewed without a gap.';

-- The way of each mail transaction, for `ebbtide explain command` and for the next attempt. Few ways carry many mails:
-- an outcome has the number of its way.

CREATE TABLE ledger_paths (
    number  integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    used_on date NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    path    text NOT NULL UNIQUE
);
COMMENT ON TABLE ledger_paths IS 'The ways that mail transactions took: JSON with source, site, provider, domain, host, addresses and TLS, and what the reply answered.';
COMMENT ON COLUMN ledger_paths.used_on IS 'The last day (UTC) on which a mail took it. Delivery deletes those that no outcome can have any more.';

ALTER TABLE ledger_outcomes ADD COLUMN path integer;
COMMENT ON COLUMN ledger_outcomes.path IS 'The way of the mail transaction, a number of ledger_paths; null without one.';
ALTER TABLE ledger_queue ADD COLUMN path integer, ADD COLUMN blocked boolean;
COMMENT ON COLUMN ledger_queue.path IS 'The way of the last mail transaction, a number of ledger_paths.';
COMMENT ON COLUMN ledger_queue.blocked IS 'Whether the server refused the source of the last mail transaction: the next one leaves from another.';

-- Webhooks beside mails: by which channel a command goes, and endpoints that are suspended.

ALTER TABLE ledger_queue ADD COLUMN channel text NOT NULL DEFAULT 'email';
ALTER TABLE ledger_outcomes ADD COLUMN channel text NOT NULL DEFAULT 'email';
COMMENT ON COLUMN ledger_queue.channel IS 'email or webhook. The priorities of webhooks are below those of all mails.';
COMMENT ON COLUMN ledger_outcomes.channel IS 'email or webhook.';

CREATE TABLE webhook_suspensions (
    endpoint text PRIMARY KEY,
    url_hash bytea NOT NULL,
    reason   text NOT NULL,
    times    integer NOT NULL,
    since    timestamptz NOT NULL,
    until    timestamptz NOT NULL
);
COMMENT ON TABLE webhook_suspensions IS 'Endpoints that get no webhook now, because their last calls failed or they said that they are gone.';
COMMENT ON COLUMN webhook_suspensions.url_hash IS 'Of the URL that failed: an endpoint with another URL is not suspended.';
COMMENT ON COLUMN webhook_suspensions.times IS 'How often in a row: each time is longer.';
COMMENT ON COLUMN webhook_suspensions.until IS 'infinity: until a person lifts it, or the URL changes.';

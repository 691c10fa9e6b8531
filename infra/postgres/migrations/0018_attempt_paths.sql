-- The way of each mail transaction, for `ebbtide explain command`.

ALTER TABLE ledger_outcomes ADD COLUMN path text;
COMMENT ON COLUMN ledger_outcomes.path IS 'JSON: the source, site, host, addresses and TLS of the attempt, and what the reply answered; null without a mail.';

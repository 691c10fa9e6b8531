-- Which rules found the class of a reply, so that it can be found again by others.

ALTER TABLE ledger ADD COLUMN classifier_hash text;
COMMENT ON COLUMN ledger.classifier_hash IS 'The hash of the rules that found the class of the reply.';

-- The outbox's mark gets the outbox's word, and comments say what each table and column is for.

ALTER TABLE ledger RENAME COLUMN unannounced TO unpublished;
ALTER INDEX ledger_unannounced RENAME TO ledger_unpublished;

COMMENT ON TABLE ledger IS 'Every send command and what became of it: one row for each command, kept for 35 days.';
COMMENT ON COLUMN ledger.partition IS 'The partition of the topic commands that the command came from.';
COMMENT ON COLUMN ledger.reason IS 'Why the command is in its state, or what it waits for.';
COMMENT ON COLUMN ledger.detail IS 'What the reason concerns, such as a header or a template; never an address.';
COMMENT ON COLUMN ledger.attempt IS 'How many mail transactions were begun.';
COMMENT ON COLUMN ledger.state_at IS 'Since when the command is in its state.';
COMMENT ON COLUMN ledger.next_attempt_at IS 'When delivery takes the command next; null: no more by itself.';
COMMENT ON COLUMN ledger.owner IS 'The worker process that began the last attempt.';
COMMENT ON COLUMN ledger.address_hash IS 'The keyed hash of the address that the last attempt went to.';
COMMENT ON COLUMN ledger.reply IS 'The server''s reply to the last attempt: code, enhanced code and text.';
COMMENT ON COLUMN ledger.hard IS 'Whether the last reply says that the address must get no mail any more.';
COMMENT ON COLUMN ledger.unpublished IS 'Whether the state is still to be published on the topic outcomes.';

COMMENT ON TABLE recipients IS 'The last profile of each user, from the topic profiles.';
COMMENT ON COLUMN recipients.known_at IS 'When the row was written last.';
COMMENT ON TABLE recipients_progress IS 'How far the topics have been read into recipients and suppressions.';
COMMENT ON COLUMN recipients_progress.as_of IS 'Everything that the partition held at this moment has been read.';
COMMENT ON COLUMN suppressions.since IS 'When the address was refused, or its reader complained or last unsubscribed.';
COMMENT ON COLUMN suppressions.command_id IS 'The command whose outcome suppressed the address; null: a person did.';

COMMENT ON TABLE suppression_audit IS 'Every suppression that a person added, or that a person or a new consent lifted.';
COMMENT ON COLUMN suppression_audit.by IS 'Who changed it: a name, or consent.';
COMMENT ON COLUMN suppression_audit.suppression IS 'The row that was lifted; null where one was added.';

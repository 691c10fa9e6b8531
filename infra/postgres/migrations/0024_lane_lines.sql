-- Commands that wait for their turn on a lane stay as they are until it comes: nobody has to guess when that is.

ALTER TABLE ledger_queue ADD COLUMN behind bigint;
COMMENT ON COLUMN ledger_queue.behind IS 'The line that the command waits in for its turn: a digest of the lane''s or limit''s name.';
-- No transition but those that change the next attempt too changes `behind`: the begin of a mail stays a HOT update.
CREATE INDEX ledger_queue_line ON ledger_queue (partition, behind, priority DESC, admitted_at) WHERE behind IS NOT NULL;

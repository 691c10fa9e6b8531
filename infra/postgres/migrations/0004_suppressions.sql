-- The class of a reply, kept with the answer, and an audit of what commands add to or lift from the suppression list.

ALTER TABLE ledger ADD COLUMN hard boolean NOT NULL DEFAULT false;
ALTER TABLE deliveries ADD COLUMN hard boolean;
ALTER TABLE engagement ADD COLUMN hard boolean;
COMMENT ON COLUMN ledger.hard IS 'Whether the last reply says that the address is to get no mail any more.';
COMMENT ON COLUMN deliveries.classification IS 'What the reply is about, or the reason of delivery itself.';
COMMENT ON COLUMN deliveries.hard IS 'Whether the address is to get no mail any more; null in older rows.';
COMMENT ON COLUMN engagement.hard IS 'Whether the address is to get no mail any more; null in older rows.';

CREATE TABLE suppression_audit (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL,
    by           text NOT NULL,
    action       text NOT NULL CHECK (action IN ('add', 'lift')),
    why          text NOT NULL,
    address_hash bytea NOT NULL,
    scope        text NOT NULL,
    suppression  jsonb
);
CREATE INDEX suppression_audit_address ON suppression_audit (address_hash, scope, at);
COMMENT ON TABLE suppression_audit IS 'Each suppression added or lifted by command. Nothing is deleted from here.';
COMMENT ON COLUMN suppression_audit.suppression IS 'The row of suppressions that was lifted; null where one was added.';

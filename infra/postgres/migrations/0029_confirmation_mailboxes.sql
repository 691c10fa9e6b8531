-- A request counts only while the user's mails go where they went when it was made. Requests from before this migration
-- do not say where that was: they expire.

ALTER TABLE confirmations ADD COLUMN mailbox text NOT NULL DEFAULT '';
COMMENT ON COLUMN confirmations.mailbox IS 'A digest of the address that the user had when asking first.';

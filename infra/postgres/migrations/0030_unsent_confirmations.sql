-- A request whose mail Kafka did not acknowledge is sent again as the same mail, and counts once.

ALTER TABLE confirmations ADD COLUMN unsent text;
COMMENT ON COLUMN confirmations.unsent IS 'The occurrence of its command, until Kafka has acknowledged that.';

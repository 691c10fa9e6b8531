-- Where a suppression comes from and when it ends, and on which days an address bounced softly.

ALTER TABLE suppressions ADD COLUMN source text, ADD COLUMN expires_at timestamptz;
COMMENT ON COLUMN suppressions.source IS 'What brought it: reply, bounce, complaint, unsubscribe, score, person, import.';
COMMENT ON COLUMN suppressions.expires_at IS 'When it ends by itself; null: never.';

UPDATE suppressions SET source = CASE reason
    WHEN 'hard_bounce' THEN 'reply' WHEN 'bounced' THEN 'bounce' WHEN 'complained' THEN 'complaint'
    WHEN 'unsubscribed' THEN 'unsubscribe' WHEN 'command' THEN 'person' ELSE reason END;

CREATE FUNCTION suppression_begins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- One that has ended, or that ends earlier, makes room: its key is the same.
    DELETE FROM suppressions AS s
    WHERE s.address_hash = NEW.address_hash AND s.scope = NEW.scope AND s.expires_at IS NOT NULL
      AND (s.expires_at <= now() OR NEW.expires_at IS NULL OR NEW.expires_at > s.expires_at);
    NEW.source := coalesce(NEW.source, CASE NEW.reason
        WHEN 'hard_bounce' THEN 'reply' WHEN 'bounced' THEN 'bounce' WHEN 'complained' THEN 'complaint'
        WHEN 'unsubscribed' THEN 'unsubscribe' WHEN 'command' THEN 'person' ELSE NEW.reason END);
    RETURN NEW;
END $$;
CREATE TRIGGER suppression_begins BEFORE INSERT ON suppressions FOR EACH ROW EXECUTE FUNCTION suppression_begins();

CREATE TABLE soft_bounces (
    address_hash bytea NOT NULL,
    day          date NOT NULL,
    PRIMARY KEY (address_hash, day)
);
COMMENT ON TABLE soft_bounces IS 'Days on which an address bounced softly; enough of them suppress it for a time.';

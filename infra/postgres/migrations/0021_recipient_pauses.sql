-- Users who asked for no mail for a time.

ALTER TABLE recipients ADD COLUMN paused_until timestamptz;
COMMENT ON COLUMN recipients.paused_until IS 'Until then the user gets no mail that needs consent.';

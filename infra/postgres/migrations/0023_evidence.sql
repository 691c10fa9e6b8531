-- By what a machine or a person was found behind an open, a click or an unsubscribe.

ALTER TABLE engagement ADD COLUMN evidence text;
COMMENT ON COLUMN engagement.evidence IS 'What tells machines from people, such as burst or navigation; null in older rows.';

-- A mail to confirm comes from the brand whose mail the recipient acted on.

ALTER TABLE confirmations ADD COLUMN brand text;
COMMENT ON COLUMN confirmations.brand IS 'The brand of the mail whose link was followed; null without one.';

-- The visits of people who were erased, by the hash of their user: who is readmitted is known again with them.

ALTER TABLE erasures ADD COLUMN visit_of bytea;
COMMENT ON COLUMN erasures.visit_of IS 'The user_hash of the user whose visit this is; null for a user.';

-- The same answers for a third of the time: the recorder asks it of each row.

CREATE OR REPLACE FUNCTION ledger_key(id text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN length(id) = 32 AND id !~ '[^0-9a-f]' THEN id::uuid END;

-- People who were erased, by a keyed hash of their user id: what comes of them later is dropped.

CREATE TABLE erasures (
    user_hash bytea PRIMARY KEY CHECK (octet_length(user_hash) = 16),
    key_id    bytea NOT NULL,
    erased_at timestamptz NOT NULL
);
COMMENT ON TABLE erasures IS 'People who were erased, by a keyed hash of their user id. Written by web alone.';
COMMENT ON COLUMN erasures.user_hash IS 'Keyed BLAKE2b of the user id; the key is EBBTIDE_ERASURE_KEY.';
COMMENT ON COLUMN erasures.key_id IS 'Names the key, so that a process with another one refuses to run.';

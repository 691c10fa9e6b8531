-- The ledger of consent: one hash chain a partition over sealed entries, signed heads, and the keys by which entries are
-- read. Without the row of a person in consent_people, nothing tells whose an entry is.

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are only added, never changed or deleted', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
COMMENT ON FUNCTION refuse_change IS 'The trigger of tables to which rows are only added.';

CREATE TABLE consent_people (
    user_id text PRIMARY KEY,
    key     bytea NOT NULL CHECK (octet_length(key) = 32),
    state   json NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE consent_people IS 'The key of each person in consent_entries, and their last answers. Erasing a person deletes the row.';

CREATE TABLE consent_chains (
    partition integer PRIMARY KEY,
    size      bigint NOT NULL DEFAULT 0,
    hash      bytea NOT NULL DEFAULT '',
    peaks     bytea[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE consent_chains IS 'The end of each chain: its rows, the hash of the last one, and the perfect subtrees of the Merkle tree.';

CREATE TABLE consent_entries (
    partition integer NOT NULL,
    number    bigint NOT NULL,
    seen_at   timestamptz NOT NULL,
    person    bytea NOT NULL,
    salt      bytea NOT NULL,
    committed bytea NOT NULL,
    sealed    bytea NOT NULL,
    leaf      bytea NOT NULL,
    hash      bytea NOT NULL,
    PRIMARY KEY (partition, number)
);
CREATE INDEX consent_entries_person ON consent_entries (person);
CREATE TRIGGER consent_entries_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON consent_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
COMMENT ON TABLE consent_entries IS 'Each consent given or taken back, sealed by its person''s key. Written by web alone.';
COMMENT ON COLUMN consent_entries.person IS 'The person''s pseudonym: a hash by their key.';
COMMENT ON COLUMN consent_entries.leaf IS 'The hash of the columns before, as a leaf of the Merkle tree (RFC 9162).';
COMMENT ON COLUMN consent_entries.hash IS 'SHA-256 of the hash of the row before and the leaf.';

CREATE TABLE consent_heads (
    partition integer NOT NULL,
    size      bigint NOT NULL,
    signed_at timestamptz NOT NULL,
    root      bytea NOT NULL,
    chain     bytea NOT NULL,
    key_id    bytea NOT NULL,
    signature bytea NOT NULL,
    PRIMARY KEY (partition, size)
);
CREATE TRIGGER consent_heads_grow BEFORE UPDATE OR DELETE OR TRUNCATE ON consent_heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
COMMENT ON TABLE consent_heads IS 'Signed heads of the chains: one an hour while a chain grows.';

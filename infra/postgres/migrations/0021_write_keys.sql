-- Write keys: who may send events over HTTP. Of a secret only its hash is kept. A key that has ended stays, for the audit.

CREATE TABLE write_keys (
    id           text PRIMARY KEY,
    secret_hash  bytea NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32), -- SHA-256
    class        text NOT NULL CHECK (class IN ('server', 'browser')),
    source       text NOT NULL CHECK (source <> ''),
    origins      text[] NOT NULL DEFAULT '{}',
    events_per_s double precision CHECK (events_per_s > 0 AND events_per_s <= 100000),
    created_at   timestamptz NOT NULL,
    ends_at      timestamptz, -- null: it has not been revoked, nor replaced by another
    replaces     text REFERENCES write_keys (id)
);

CREATE TABLE write_key_audit (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL,
    by     text NOT NULL,
    action text NOT NULL CHECK (action IN ('add', 'rotate', 'revoke')),
    key_id text NOT NULL REFERENCES write_keys (id)
);
CREATE INDEX write_key_audit_key ON write_key_audit (key_id, at);
COMMENT ON TABLE write_key_audit IS 'Each write key made, replaced or revoked by command. Nothing is deleted from here.';

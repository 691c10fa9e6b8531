-- Which part of a write key's limit each HTTP worker may use. About the next seconds only, so nothing is logged: a crash
-- empties the tables, and the workers fill them again.

CREATE UNLOGGED TABLE rate_workers (
    worker      text PRIMARY KEY,
    lease_until timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE UNLOGGED TABLE rate_shares (
    key_id       text NOT NULL,
    worker       text NOT NULL REFERENCES rate_workers (worker) ON DELETE CASCADE,
    wanted       integer NOT NULL, -- events that its callers asked for in a window
    share        integer NOT NULL, -- events that it may take in any window
    share_before integer NOT NULL, -- the most that it could take in the window before `changed_at`
    changed_at   timestamptz NOT NULL,
    PRIMARY KEY (key_id, worker)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX rate_shares_worker ON rate_shares (worker);

-- Limits over all workers. Both tables are about the next seconds only, so they are not logged: a crash empties them.

CREATE UNLOGGED TABLE send_limits (
    name         text PRIMARY KEY,
    arrival_us   bigint NOT NULL, -- the theoretical arrival time of the next permit, in µs since 1970
    interval_us  bigint NOT NULL, -- as its last taker had them
    tolerance_us bigint NOT NULL,
    horizon_us   bigint NOT NULL,
    taken        bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE UNLOGGED TABLE connection_leases (
    name        text NOT NULL,
    slot        integer NOT NULL, -- from 1 to the limit
    owner       text NOT NULL,
    lease_until timestamptz NOT NULL,
    PRIMARY KEY (name, slot)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX connection_leases_owner ON connection_leases (owner);

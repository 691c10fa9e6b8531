-- A worker that finds every slot of a limit taken says so; those that hold slots share them then.

ALTER TABLE connection_leases ADD COLUMN wanted_until timestamptz NOT NULL DEFAULT '-infinity';

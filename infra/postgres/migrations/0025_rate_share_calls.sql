-- The largest call of a worker's callers: shares are multiples of it.

ALTER TABLE rate_shares ADD COLUMN largest integer NOT NULL DEFAULT 1;

-- How long the slowest worker waits for an answer, in the row of each limit: all workers widen the limit's pace to it.

ALTER TABLE send_limits
    ADD COLUMN spread_us       bigint NOT NULL DEFAULT 0, -- see senders/shaping/gcra.py
    ADD COLUMN spread_until_us bigint NOT NULL DEFAULT 0, -- from then on a narrower one may take its place
    ADD COLUMN ahead_us        bigint NOT NULL DEFAULT 0; -- as the last taker had it

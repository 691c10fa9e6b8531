-- What rules over replies and people have done to lanes, for all workers. Logged: a suspension outlives a crash.

CREATE SEQUENCE shaping_actions_changed;
CREATE TABLE shaping_actions (
    target   text[] NOT NULL, -- the scope, then the names that it has there
    kind     text NOT NULL,   -- suspend, hold or set
    rule     text NOT NULL,
    since_us bigint NOT NULL, -- µs since 1970
    until_us bigint NOT NULL,
    "values" jsonb NOT NULL,  -- the keys that a set sets
    reply    text NOT NULL,   -- what triggered it, without addresses
    lifted   boolean NOT NULL DEFAULT false,
    changed  bigint NOT NULL DEFAULT nextval('shaping_actions_changed'),
    PRIMARY KEY (target, kind, rule)
);
CREATE INDEX shaping_actions_order ON shaping_actions (changed);
ALTER SEQUENCE shaping_actions_changed OWNED BY shaping_actions.changed;

-- Imports of profiles from files: how far each one came.

CREATE TABLE profile_imports (
    id          text PRIMARY KEY,
    file        text NOT NULL,
    source      text NOT NULL,
    time_us     bigint NOT NULL,
    rows        bigint NOT NULL DEFAULT 0,
    line        bigint NOT NULL DEFAULT 0,
    changed     bigint NOT NULL DEFAULT 0,
    refused     bigint NOT NULL DEFAULT 0,
    began_at    timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
COMMENT ON TABLE profile_imports IS 'Each file of profiles that was imported. The id is a hash of its content and of how it was read.';
COMMENT ON COLUMN profile_imports.time_us IS 'The time of rows that have none of their own: when the import first began.';
COMMENT ON COLUMN profile_imports.rows IS 'So many rows are in the store or refused; the import goes on behind them.';
COMMENT ON COLUMN profile_imports.changed IS 'How many profiles the rows changed or made.';

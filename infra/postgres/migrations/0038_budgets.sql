-- How many commands each budget has let through in its window, over all workers. The transaction that admits commands
-- locks the rows of their budgets, so that no two of them count at once.

CREATE TABLE ledger_budgets (
    name       text NOT NULL,
    span       text NOT NULL,
    most       bigint NOT NULL,
    counts     jsonb NOT NULL DEFAULT '{}',
    counted_at timestamptz NOT NULL DEFAULT now(),
    held       bigint NOT NULL DEFAULT 0,
    held_at    timestamptz,
    PRIMARY KEY (name, span)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE ledger_budgets IS 'The budgets of rules and policies that delivery has counted, and how much of them is used.';
COMMENT ON COLUMN ledger_budgets.name IS 'trigger/NAME or policy/NAME: the document that has the budget.';
COMMENT ON COLUMN ledger_budgets.span IS 'Its window: a length in milliseconds, or a calendar window with its zone.';
COMMENT ON COLUMN ledger_budgets.most IS 'How many commands it lets through, as the last one that was counted said it.';
COMMENT ON COLUMN ledger_budgets.counts IS 'How many it let through, by part of the window: docs/delivery.md says how parts are numbered.';
COMMENT ON COLUMN ledger_budgets.held IS 'How many commands it has held since the row was made; also those that were released since.';
COMMENT ON COLUMN ledger_budgets.held_at IS 'When it last held a command.';

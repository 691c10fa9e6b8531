"""The ledger, which is delivery's queue, and the outbox of outcomes."""

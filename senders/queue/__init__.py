"""The ledger, and the outbox of outcomes."""

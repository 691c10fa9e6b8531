"""The database's history: one revision a file, raw SQL, run in order and once. `infra.migrate` runs it."""

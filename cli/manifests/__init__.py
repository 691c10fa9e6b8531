"""Published rules: plans, numbered manifests, their history, and rollback."""

"""The evaluator: events and timers applied to one user's state, gate by gate."""

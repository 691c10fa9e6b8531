"""HTTP edges: event ingest, tracking, preferences, console. Nothing is served yet; see the README's list of what is not there."""

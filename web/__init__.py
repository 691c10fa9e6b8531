"""HTTP edges: event ingest, tracking, preferences, console. Nothing is served yet; the README says what is missing."""

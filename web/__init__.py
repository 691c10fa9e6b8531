"""HTTP edges: event ingest, tracking, preferences, console. Nothing is served yet; the README lists what is not there."""

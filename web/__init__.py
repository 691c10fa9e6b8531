"""HTTP edges: ingest of events and profiles, and the pages of recipients."""

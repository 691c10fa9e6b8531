"""Looking back: decisions explained, recomputed from the journal, and compared with what shadow would have sent."""

"""The ledger of consent: each answer that counted, chained, in signed Merkle trees, sealed by its person's key."""

"""Delivery: a send command on Kafka becomes one signed mail, one ledger row and the outcomes that tell of it."""

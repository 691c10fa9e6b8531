"""Kafka as processes use it: connection, security, readers, producers, topics, dead letters."""

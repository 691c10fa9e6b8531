"""The processes that serve HTTP, and how they wait for Kafka."""

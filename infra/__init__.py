"""What processes run on: Kafka, PostgreSQL, service life cycle, local servers. Knows no rule and no mail."""

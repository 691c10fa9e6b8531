"""The lake: decisions, deliveries and engagement as Parquet files by day, exported from the topics exactly once."""

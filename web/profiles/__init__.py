"""What is known of each user: merged by time in PostgreSQL, and published whole."""

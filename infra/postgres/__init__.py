"""PostgreSQL: connections whose transactions are repeated during an outage, and the migrations."""

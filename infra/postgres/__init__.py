"""PostgreSQL as processes use it: the migrations of the database."""

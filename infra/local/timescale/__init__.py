"""The local TimescaleDB on PostgreSQL 17: unpacked from Debian's packages, run through their own loader."""

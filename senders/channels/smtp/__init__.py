"""SMTP: the relay, its connections, and what its replies mean."""

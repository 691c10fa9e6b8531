"""SMTP: the relay, its sessions, and what replies mean."""

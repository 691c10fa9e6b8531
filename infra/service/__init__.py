"""What every process has: logs, watchdog, orderly ends, supervision."""

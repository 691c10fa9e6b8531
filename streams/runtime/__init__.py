"""The exactly-once runtime: intake, partition clock, checkpoints, recovery, snapshots. Knows no rules."""

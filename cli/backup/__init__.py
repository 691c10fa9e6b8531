"""Backups of the databases and of where readers stood, and restores that mail nobody twice."""

"""Lint: warnings and notes about rules that load."""

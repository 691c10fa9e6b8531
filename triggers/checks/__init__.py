"""Lint: what is doubtful in rules that load."""

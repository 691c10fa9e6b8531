"""Expressions: a subset of CEL, parsed, typed and compiled to Python."""

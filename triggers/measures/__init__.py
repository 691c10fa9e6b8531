"""Measures over time: decay, windows, local time."""

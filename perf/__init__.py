"""Measurements of Ebbtide: what is fed, one measurement a file, and the record of their results."""

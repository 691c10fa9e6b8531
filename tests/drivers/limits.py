"""When a test gives a condition up."""

HANGS_AFTER_S = 240.0
"""After this long a test gives up waiting, because the process hangs. A machine under heavy load needs far less. It
measures nothing: each promise of the product, such as a stop within 5 s, has its own bound in its own test."""

"""When a test gives a condition up."""

HANGS_AFTER_S = 240.0
"""A condition that takes longer will never hold. It is no promise of the product, so it is far above what a machine
under heavy load needs. What the product promises, such as a stop within 5 s, stands in the test that measures it."""

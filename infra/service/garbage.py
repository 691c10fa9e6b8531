"""The search for reference cycles, in a process whose requests make many objects and hardly any cycles."""

import gc

THRESHOLDS = (20_000, 10, 10)
"""With those of Python, 400 requests at once begin a search dozens of times, which took a third of the CPU time of a
single call. Rarer than this saves no more, and what is in a cycle would be kept for longer."""


def search_rarely() -> None:
    """Spares what lives now, such as modules, from every later search, and makes searches rare."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)

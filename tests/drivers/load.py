"""How much longer than promised a loaded machine may take."""

import os


def overload() -> float:
    """How many processes want each core, at least 1: promises of time are made for a machine that is not overloaded."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))

"""The versions on which decisions depend: Ebbtide, the zone data and Python."""

import platform
from importlib.metadata import version

from schemas import zones


def versions() -> dict[str, str]:
    """The versions by name. `tzdata` is IANA's release; the journal has the same under `zones`."""
    return {"ebbtide": version("ebbtide"), "tzdata": zones.VERSION, "python": platform.python_version()}

"""The versions that decide: of Ebbtide, of the zone data, and of Python."""

import platform
from importlib.metadata import version

from schemas import zones


def versions() -> dict[str, str]:
    """Each by its name. `tzdata` is the release that IANA names; the journal has the same under `zones`."""
    return {"ebbtide": version("ebbtide"), "tzdata": zones.VERSION, "python": platform.python_version()}

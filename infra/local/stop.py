"""Stops every native server of this checkout, also those of the demo and the tests: `python -m infra.local.stop`.

`make clean` uses it because it does not depend on the ports and instances of the servers.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from infra.local.layout import Layout
from infra.local.native import NativeEngine
from infra.local.ports import Ports


def homes(top: Path) -> Iterator[Path]:
    """`top` and the directories at most two levels below it that have records of servers."""
    yield from (place for place in (top, *top.glob("*"), *top.glob("*/*")) if (place / "run").is_dir())


def stop_all(layout: Layout) -> list[str]:
    """Stops them; returns `HOME: SERVER` for each that was running."""
    return [
        f"{home}: {name}"
        for home in homes(layout.home)
        for name in NativeEngine(Ports(), layout.in_own_partition(home)).down()
    ]


def main() -> int:
    """Stops them and prints which."""
    for stopped in stop_all(Layout.of_project()):
        print(f"stopped {stopped}")  # noqa: T201 -- a program's own output
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Stopping every native server of this checkout, main, demo's and tests': `python -m infra.local.stop`.

For a clean-up that must not depend on which ports or instance the servers were started with.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from infra.local.layout import Layout
from infra.local.native import NativeEngine
from infra.local.ports import Ports


def homes(top: Path) -> Iterator[Path]:
    """The directories at most two levels below `top`, and `top` itself, where servers keep their records."""
    yield from (place for place in (top, *top.glob("*"), *top.glob("*/*")) if (place / "run").is_dir())


def stop_all(layout: Layout) -> list[str]:
    """Stop them; `HOME: SERVER` of each that ran."""
    return [
        f"{home}: {name}" for home in homes(layout.home) for name in NativeEngine(Ports(), layout.at_home(home)).down()
    ]


def main() -> int:
    """Stop them and say which."""
    for stopped in stop_all(Layout.of_project()):
        print(f"stopped {stopped}")  # noqa: T201 -- a program's own output
    return 0


if __name__ == "__main__":
    sys.exit(main())

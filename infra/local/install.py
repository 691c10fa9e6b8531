"""Fetching both local servers at once: `python3 -m infra.local.install`.

Set-up runs this beside pip, before there is a virtual environment, so it and what it imports use the standard
library only (a test holds that). Starting the servers is `infra.local.native`'s.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from infra.local.kafka import install as kafka
from infra.local.layout import Layout
from infra.local.problems import SetupProblem
from infra.local.timescale import install as timescale


def together(steps: Sequence[Callable[[], object]]) -> None:
    """Run the steps side by side; raises the first problem once all have ended."""
    with ThreadPoolExecutor(len(steps)) as pool:
        futures = [pool.submit(step) for step in steps]
    for future in futures:
        future.result()


def install_servers(layout: Layout) -> None:
    """Have the programs of both servers in place. Raises `SetupProblem`."""
    together([lambda: kafka.install(layout), lambda: timescale.install(layout)])


def main() -> int:
    """The exit status: 0, or 2 with one line on standard error."""
    try:
        install_servers(Layout.of_project())
    except SetupProblem as problem:
        print(f"ebbtide: {problem}", file=sys.stderr)  # noqa: T201 -- a program's own error line
        return problem.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())

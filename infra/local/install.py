"""Fetches both local servers at once: `python3 -m infra.local.install`.

Set-up runs this in parallel with pip, before there is a virtual environment, so it imports only the standard library
and modules that do the same (a test checks that). `infra.local.native` starts the servers.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from infra.local.kafka import install as kafka
from infra.local.layout import Layout
from infra.local.problems import SetupProblem
from infra.local.timescale import install as timescale


def together(steps: Sequence[Callable[[], object]]) -> None:
    """Runs the steps in parallel; when all have ended, raises the first problem."""
    with ThreadPoolExecutor(len(steps)) as pool:
        futures = [pool.submit(step) for step in steps]
    for future in futures:
        future.result()


def install_servers(layout: Layout) -> None:
    """Installs the programs of both servers, if they are missing. Raises `SetupProblem`."""
    together([lambda: kafka.install(layout), lambda: timescale.install(layout)])


def main() -> int:
    """Returns the exit status: 0, or 2 with one line on standard error."""
    try:
        install_servers(Layout.of_project())
    except SetupProblem as problem:
        print(f"ebbtide: {problem}", file=sys.stderr)  # noqa: T201 -- a program's own error line
        return problem.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())

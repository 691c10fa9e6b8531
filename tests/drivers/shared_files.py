"""How processes of pytest-xdist share the files: those that compute run beside those that wait for servers."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

ROOT = Path(__file__).parents[2]
COMPUTING = ("tests/unit/", "tests/property/")
SERVERS = "mark.servers"
NICENESS = 10
"""Of the process that computes: tests that wait for something within a time come first."""


@cache
def computes(file: str) -> bool:
    """Whether no test of this file needs servers."""
    return file.startswith(COMPUTING) and SERVERS not in (ROOT / file).read_text()


def computing_process(processes: int) -> str:
    """The name of the process that computes; empty where there is only one for everything."""
    return f"gw{processes - 1}" if processes > 1 else ""


class SharedFiles(LoadFileScheduling):
    """Files in the order of collection; but one process takes only those that compute, from the end.

    Tests with servers leave half of two cores idle. The others take what is left of the files that compute.
    """

    def __init__(
        self, config: pytest.Config, log: Producer | None = None, computes: Callable[[str], bool] = computes
    ) -> None:
        super().__init__(config, log)
        self._computing = computing_process(self.numnodes)
        self._computes = computes

    def _assign_work_unit(self, node: WorkerController) -> None:
        if node.gateway.id == self._computing:
            file = next(filter(self._computes, reversed(self.workqueue)), None)
            if file is None:
                node.shutdown()  # once it has run what it was given
                return
            self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)

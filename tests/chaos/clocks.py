"""How far the clocks of all partitions are, from the workers' status pages."""

import time
from collections.abc import Iterable
from typing import Any

from infra.service.page_client import read_page


class PartitionClocks:
    """What each partition's clock has passed. A page shows a measurement until the next, a few seconds later."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._gauges: dict[int, Any] = {}
        self._read_ms = 0.0
        self._passed_ms: dict[int, float] = {}

    def read(self, ports: Iterable[int]) -> None:
        """Reads the pages. A gauge that differs from the last reading was measured after that."""
        before_ms, self._read_ms = self._read_ms, time.time() * 1000
        for gauge in (gauge for port in ports for gauge in _gauges(port)):
            number, lag_s = gauge["partition"], gauge["clock_lag_s"]
            if lag_s is not None and gauge != self._gauges.setdefault(number, gauge):
                self._passed_ms[number] = before_ms - lag_s * 1000
            self._gauges[number] = gauge

    def have_passed(self, instant_ms: float) -> bool:
        """Whether the clock of every partition has passed the instant."""
        return len(self._passed_ms) == self._partitions and min(self._passed_ms.values()) > instant_ms


def _gauges(port: int) -> list[dict[str, Any]]:
    answer = read_page(port, "/status")
    return [] if answer is None else list(answer[1]["partitions"])

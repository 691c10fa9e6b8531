"""What a worker answers over HTTP: /health, /ready, /metrics and /status, on Faust's own web server."""

import os
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from streams.monitoring.gauges import Gauges
from streams.monitoring.health import Health, Phase
from streams.monitoring.metrics import Metrics

UNAVAILABLE = 503
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Pages:
    """The answers of the worker in `slot`."""

    def __init__(self, slot: int, restarts: int, health: Health, gauges: Gauges, metrics: Metrics) -> None:
        self._slot = slot
        self._restarts = restarts
        self._health = health
        self._gauges = gauges
        self._metrics = metrics

    def health(self) -> tuple[int, dict[str, Any]]:
        """200 while the event loop answers and checkpoints come to an end."""
        reason = self._health.why_unhealthy()
        return (UNAVAILABLE if reason else 200), {"healthy": reason is None, "reason": reason, **self._who()}

    def ready(self) -> tuple[int, dict[str, Any]]:
        """200 while partitions are processed."""
        ready = self._health.phase is Phase.READY
        partitions = list(self._health.partitions)
        found = {"ready": ready, "reason": self._health.reason, "partitions": partitions, **self._who()}
        return (200 if ready else UNAVAILABLE), found

    def status(self) -> tuple[int, dict[str, Any]]:
        """Everything about this worker and its partitions."""
        health = self._health
        return 200, {
            **self._who(),
            "reason": health.why_unhealthy() or health.reason,
            "restarts": self._restarts,
            "started": (datetime.now(UTC) - timedelta(seconds=health.up_s)).isoformat(timespec="seconds"),
            "uptime_s": round(health.up_s, 1),
            "memory_bytes": resident_bytes(),
            "partitions": [asdict(gauge) for gauge in self._gauges.now],
        }

    def _who(self) -> dict[str, Any]:
        return {"slot": self._slot, "pid": os.getpid(), "state": self._health.phase}

    def serve(self, app: Any) -> None:
        """Adds the pages to the application's web server."""
        answers = {"/health": self.health, "/ready": self.ready, "/status": self.status}

        @app.page("/metrics")
        async def metrics(view: Any, _request: Any) -> Any:
            return view.bytes(self._metrics.page(), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

        for path, answer in answers.items():

            async def page(view: Any, _request: Any, answer: Any = answer) -> Any:
                status, found = answer()
                return view.json(found, status=status)

            app.page(path, name=path.strip("/"))(page)


def resident_bytes() -> int:
    """The memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES

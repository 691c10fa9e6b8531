"""When a worker's /health calls for a restart, as a liveness probe of Kubernetes decides it."""

import asyncio
import time
from dataclasses import dataclass

from infra.service.page_client import read_page


@dataclass(frozen=True, slots=True)
class LivenessProbe:
    """Reads /health every `period_s`; `failures` in a row call for a restart.

    A worker says 503 only after every wait that can end without a restart: two minutes without a checkpoint, or a task
    that has made no progress for longer than PostgreSQL's time-outs. A minute more costs little, and no short outage of
    the machine restarts a worker. A worker serves its pages from before its recovery on, so `start_s` is many times
    what that takes.
    """

    period_s: float = 10.0
    failures: int = 6
    start_s: float = 300.0

    async def unhealthy(self, port: int) -> str:
        """Waits until the worker on `port` must be restarted; returns the reason.

        No answer counts once the worker has answered or has had `start_s` to start: its event loop hangs.
        """
        starting_until_s = time.monotonic() + self.start_s
        failed, reason = 0, ""
        while failed < self.failures:
            await asyncio.sleep(self.period_s)
            answer = await asyncio.to_thread(read_page, port, "/health")
            if answer is None:
                reason = "" if time.monotonic() < starting_until_s else "it does not answer /health"
            else:
                starting_until_s, (status, found) = 0.0, answer
                reason = "" if status == 200 else str(found["reason"])
            failed = failed + 1 if reason else 0
        return reason

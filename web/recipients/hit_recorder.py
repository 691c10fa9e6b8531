"""Records opens and clicks after they were answered: a bounded queue, and a task that makes outcomes of it.

A hit waits two seconds, because the next ones may show that it belongs to a burst; and as long as PostgreSQL or Kafka
is away. What does not fit into the queue meanwhile is dropped, and the log says how many. A crash loses what waits.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

import structlog

from infra.service.outages import backoff_s
from infra.service.watchdog import Watchdog
from schemas.outcomes import Outcome
from schemas.vocabulary import Evidence
from web.recipients import facts
from web.recipients.evidence import BURST_US, Hit, RecentHits
from web.recipients.mail_origins import MailOrigins
from web.recipients.outcome_log import NotAcknowledged, OutcomeLog

MOST_WAITING = 100_000
"""Some 30 MB; at 1,000 hits a second, an outage of a minute and a half."""
BATCH = 500
TICK_S = 0.25
SAY_EVERY_S = 10.0


def now_us() -> int:
    """The time in microseconds since 1970."""
    return time.time_ns() // 1000


class HitCounts(NamedTuple):
    """What became of opens and clicks."""

    recorded: Mapping[tuple[str, str], int]
    """By kind and evidence."""
    dropped: int
    waiting: int


NO_HITS = HitCounts({}, 0, 0)


class HitRecorder:
    """All methods belong to the event loop's thread; `run` must run."""

    def __init__(
        self,
        origins: MailOrigins,
        log: OutcomeLog,
        watchdog: Watchdog | None = None,
        clock_us: Callable[[], int] = now_us,
        most: int = MOST_WAITING,
    ) -> None:
        self._origins = origins
        self._outcomes = log
        self._watchdog = Watchdog() if watchdog is None else watchdog
        self._clock_us = clock_us
        self._most = most
        self._waiting: deque[Hit] = deque()
        self._recording = asyncio.Lock()
        self._recent = RecentHits()
        self._recorded: Counter[tuple[str, str]] = Counter()
        self._dropped = 0
        self._dropped_before = 0
        self._say_at_s = 0.0
        self._log = structlog.get_logger("web.recipients.hit_recorder")

    @property
    def waiting(self) -> int:
        """How many hits are not recorded yet."""
        return len(self._waiting)

    @property
    def counts(self) -> HitCounts:
        """The counts since the process began."""
        return HitCounts(self._recorded, self._dropped_before + self._dropped, self.waiting)

    def add(self, hit: Hit) -> None:
        """Record this soon, or drop it if too much waits."""
        self._recent.add(hit)
        if len(self._waiting) >= self._most:
            self._dropped += 1
        else:
            self._waiting.append(hit)

    async def run(self) -> None:
        """Record hits, until cancelled."""
        while True:
            self._watchdog.beat()
            self._say_what_was_dropped()
            with self._watchdog.rest():
                recorded = await self.record_batch(self._clock_us() - BURST_US)
            if not recorded:
                await asyncio.sleep(TICK_S)

    async def drain(self) -> None:
        """Record all that waits."""
        while self._waiting or self._recording.locked():
            await self.record_batch(self._clock_us())

    async def finish(self, within_s: float) -> None:
        """Record what waits, as far as the time allows, and say what is lost."""
        try:
            async with asyncio.timeout(within_s):
                await self.drain()
        except TimeoutError:
            self._log.error("hits_dropped", count=len(self._waiting) + self._dropped, waiting=0)

    async def record_batch(self, until_us: int) -> int:
        """Record at most a batch of hits that came until then. Returns how many left the queue."""
        async with self._recording:
            batch: list[Hit] = []
            while self._waiting and len(batch) < BATCH and self._waiting[0].at_us <= until_us:
                batch.append(self._waiting.popleft())
            if batch:
                try:
                    await self._record(batch)
                except asyncio.CancelledError:
                    self._waiting.extendleft(reversed(batch))
                    raise
            return len(batch)

    async def _record(self, batch: list[Hit]) -> None:
        origins = await asyncio.gather(*(self._origins.patient(hit.command_id) for hit in batch))
        outcomes = {
            outcome.id: outcome
            for hit, origin in zip(batch, origins, strict=True)
            if origin is not None
            for outcome in [facts.of_hit(hit, origin)]
        }
        if unknown := origins.count(None):
            self._log.info("hits_of_unknown_mails", count=unknown)
        await self._write(list(outcomes.values()))
        self._recorded.update((each.kind, each.evidence or Evidence.NONE) for each in outcomes.values())

    async def _write(self, outcomes: list[Outcome]) -> None:
        """Write them, and wait for Kafka if it is away: a repeat is the same fact."""
        for wait_s in backoff_s():
            try:
                await self._outcomes.write(outcomes)
            except NotAcknowledged as error:
                self._log.warning("hits_not_written", error=str(error), count=len(outcomes), waiting=self.waiting)
                await asyncio.sleep(wait_s)
            else:
                return

    def _say_what_was_dropped(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if self._dropped and now_s >= self._say_at_s:
            self._log.error("hits_dropped", count=self._dropped, waiting=self.waiting)
            self._dropped_before += self._dropped
            self._dropped, self._say_at_s = 0, now_s + SAY_EVERY_S

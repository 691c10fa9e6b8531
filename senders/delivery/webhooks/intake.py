"""Lets webhooks wait in memory for their endpoint, and returns to the ledger those that would wait there for long.

So an endpoint that is slow, limited or suspended fills its own share of the memory and nobody else's. A command that is
returned stands in the line of its endpoint until its turn comes, as mails do on their lanes.
"""

import math
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

from schemas.endpoints import Endpoint
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.content.templates import TemplateCache
from senders.delivery.lane_lines import AHEAD_S, LaneLines, Line
from senders.delivery.ready_queue import CAPACITY, DeliveryJob, ReadyQueue
from senders.delivery.webhooks.driver import WebhookDriver
from senders.delivery.webhooks.endpoint_health import EndpointHealth, EndpointRest
from senders.policy.endpoints import EndpointBook, KnownEndpoint
from senders.policy.pipeline import ASK_AGAIN, Delay, Stop
from senders.queue.ledger import CommandStatus, DueStatus
from senders.queue.lines import line_of
from senders.shaping.quantities import SendRate

IN_DOUBT_BEYOND = 3
"""So many calls more than its retries a command in doubt may get: lost workers cost it none, people ask for some."""
SECRET_AGAIN = timedelta(minutes=1)
"""When a command is looked at again whose endpoint lacks a secret: the worker starts again with it."""


class WebhookIntake:
    """Used in the event loop's thread only."""

    def __init__(
        self,
        *,
        ready: ReadyQueue,
        driver: WebhookDriver,
        book: EndpointBook,
        health: EndpointHealth,
        templates: TemplateCache,
        publication_wait: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        """`templates` knows whether the topic that carries the endpoints has been read, and for how long."""
        self.ready = ready
        self._driver = driver
        self._book = book
        self._health = health
        self._templates = templates
        self._publication_wait = publication_wait
        self._clock = clock
        self._lines = LaneLines(lambda _: None, lambda _: None, ready.from_line)
        self.line_order = self._lines.order
        self.let_go = self._lines.let_go

    def admit(self, job: DeliveryJob) -> Stop | Delay | None:
        """Let a command wait in memory; or say why it is not called, or waits in the ledger."""
        command = job.due.command
        known = self._book.get(command.template)
        if known is None and self._templates.waited(job.due.admitted_at, self._clock()) >= self._publication_wait:
            return Stop(LedgerState.FAILED, DeliveryReason.ENDPOINT_MISSING, command.template)
        if known is None or known.call is None:
            return self._lacking(job, known)
        beyond = IN_DOUBT_BEYOND if job.due.state is LedgerState.IN_DOUBT else 0
        if job.due.attempt > known.endpoint.retries + beyond:
            return Stop(LedgerState.FAILED, DeliveryReason.RETRIES_USED)
        if (rest := self._health.rest(known.endpoint)) is not None:
            return self._behind(job, known.endpoint, rest)
        queued = job.due.behind is None and self._lines.is_before(_line(command.template), job.due.queue_class.priority)
        if queued or len(self._driver.waiting(command.template)) >= _share(known.endpoint):
            return self._behind(job, known.endpoint, None)
        self._driver.put(job)
        return None

    def returned(self) -> list[tuple[CommandStatus, Delay]]:
        """The commands whose endpoint is called no more for now. From now on they wait in the ledger."""
        answers = []
        for name in self._driver.names:
            jobs, known = self._driver.waiting(name), self._book.get(name)
            if known is None or known.call is None:
                delays = [self._lacking(job, known) for job in jobs]
            elif (rest := self._health.rest(known.endpoint)) is not None:
                delays = [self._behind(job, known.endpoint, rest) for job in jobs]
            else:
                continue
            answers += [(job.due.status, delay) for job, delay in zip(jobs, delays, strict=True)]
            self._driver.take_out(jobs)
        return answers

    def drop(self, partitions: Collection[int]) -> None:
        """Forget the waiting commands of partitions that another worker has now."""
        self._driver.take_out([job for job in self.ready.waiting.values() if job.due.partition in partitions])

    # lines in the ledger

    def lines_found(self, numbers: Collection[int]) -> set[int]:
        """Take those of these lines that are of endpoints. Returns them."""
        ours = {line_of(_line(name)) for name in self._book.all}.intersection(numbers)
        self._lines.found(ours)
        return ours

    def limits_changed(self) -> None:
        """Other endpoints or suspensions are in force: what waits in lines is asked again."""
        self._lines.go_on()
        self._driver.wake()

    def wanted(self, room: int) -> Mapping[int, int]:
        """How many of the first commands of which lines may come now."""
        return self._lines.wanted(room, self._clock())

    def came(self, wanted: Mapping[int, int], heads: Collection[tuple[int, DueStatus]]) -> None:
        """These came of those wanted; each is admitted next."""
        self._lines.came(wanted, heads)

    def _lacking(self, job: DeliveryJob, known: KnownEndpoint | None) -> Delay:
        """Let a command wait whose endpoint is not published, or lacks a secret."""
        now, expires_at = self._clock(), job.due.command.expires_at
        if known is None:
            return Delay(DeliveryReason.ENDPOINT_MISSING, min(now + ASK_AGAIN, expires_at))
        detail = f"endpoint {known.endpoint.name}: {known.lacks}"
        return Delay(DeliveryReason.SECRET_MISSING, min(now + SECRET_AGAIN, expires_at), detail)

    def _behind(self, job: DeliveryJob, endpoint: Endpoint, rest: EndpointRest | None) -> Delay:
        """Let a command wait in the line of its endpoint."""
        command = job.due.command
        line = Line(pace=_pace(endpoint), priority=job.due.queue_class.priority)
        detail = f"endpoint {endpoint.name}: "
        if rest is None:
            detail += "others wait before it"
        else:
            line.rests_until = rest.until
            detail += rest.why
        number = self._lines.join(_line(endpoint.name), line, job.due)
        return Delay(DeliveryReason.LIMITED, command.expires_at, detail, number)


def _line(endpoint: str) -> str:
    return f"endpoint {endpoint}"


def _pace(endpoint: Endpoint) -> float:
    """Calls a second that may begin; without a rate so many that the memory's share is the bound."""
    if endpoint.rate is None:
        return CAPACITY / AHEAD_S
    rate = SendRate.parse(endpoint.rate)
    return rate.count / rate.period_s


def _share(endpoint: Endpoint) -> int:
    """How many of an endpoint wait in memory at most."""
    return max(1, min(CAPACITY, math.ceil(_pace(endpoint) * AHEAD_S)))

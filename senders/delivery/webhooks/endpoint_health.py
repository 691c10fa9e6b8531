"""Which endpoints get no webhook now: those that were suspended, by any worker, and those that asked for a pause.

An endpoint whose calls fail several times in a row is suspended, for twice as long each time in a row; then one call
tries it. One that says that it is gone is suspended until a person lifts that, or its URL changes. What is known of one
URL of an endpoint says nothing of another.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.watchdog import Watchdog
from schemas.endpoints import Endpoint
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.channel import SendResult
from senders.policy.endpoints import EndpointBook
from senders.queue import suspensions
from senders.queue.suspensions import NewSuspension, Suspension, url_hash

FAILURES = 10
"""So many failed calls in a row suspend an endpoint."""
CAREFUL = 3
"""After so many in a row, one call at a time is enough to find out more."""
FOLLOW_S = 1.0
"""How soon a worker knows what another one has found out, and that a person has lifted a suspension."""
LONGEST_PAUSE = timedelta(minutes=15)
"""How long an endpoint that asks to wait gets no call at all; the command that it answered waits as long as it asks."""
FOR_EVER = datetime.max.replace(tzinfo=UTC)
_Target = tuple[str, bytes]
"""An endpoint's name and the hash of its URL."""


@dataclass(frozen=True, slots=True)
class EndpointRest:
    """Why an endpoint gets no webhook, and until when; FOR_EVER if that does not end by itself."""

    why: str
    until: datetime


class EndpointHealth:
    """Used in the event loop's thread; `database` is used by nothing else.

    `changed` is called when an endpoint may be called again, or no more. Times are by `clock`, the ledger's.
    """

    def __init__(
        self,
        database: AsyncDatabase,
        book: EndpointBook,
        clock: Callable[[], datetime],
        changed: Callable[[], None],
        watchdog: Watchdog,
    ) -> None:
        self._database = database
        self._book = book
        self._clock = clock
        self._changed = changed
        self._watchdog = watchdog
        self.known = False
        """Whether the suspensions were read. Until then no endpoint may be called."""
        self._suspended: dict[str, Suspension] = {}
        self._failures: dict[_Target, int] = {}
        self._pauses: dict[_Target, datetime] = {}
        self._found: dict[str, NewSuspension] = {}
        self._lifted: set[str] = set()
        self._log = structlog.get_logger("senders.delivery.webhooks.endpoint_health")

    def rest(self, endpoint: Endpoint) -> EndpointRest | None:
        """Why an endpoint may not be called now; None if it may."""
        now, target = self._clock(), _target(endpoint)
        found = self._found.get(endpoint.name)
        if found is not None and _of(found) == target:
            return EndpointRest(f"suspended: {found.reason}", now + timedelta(seconds=FOLLOW_S))
        if (known := self._known(endpoint)) is not None:
            if known.until is None:
                return EndpointRest(f"suspended: {known.reason}", FOR_EVER)
            if known.until > now:
                return EndpointRest(f"suspended: {known.reason}", known.until)
        pause = self._pauses.get(target)
        return EndpointRest("asked to wait", pause) if pause is not None and pause > now else None

    def careful(self, endpoint: Endpoint) -> bool:
        """Whether one call at a time is to try an endpoint."""
        return self._failures.get(_target(endpoint), 0) >= CAREFUL or self._known(endpoint) is not None

    def answered(self, endpoint: Endpoint, result: SendResult) -> None:
        """Note the result of a call."""
        name, target = endpoint.name, _target(endpoint)
        if result.state is LedgerState.ACCEPTED:
            self._failures.pop(target, None)
            if name in self._suspended:
                self._lifted.add(name)
            return
        if result.asked is not None:
            self._pauses[target] = self._clock() + min(result.asked, LONGEST_PAUSE)
        failures = self._failures[target] = self._failures.get(target, 0) + 1
        gone = result.reason == DeliveryReason.ENDPOINT_GONE
        if gone or failures >= FAILURES:
            code = "" if result.reply is None else f" {result.reply.code}"
            self._found[name] = NewSuspension(*target, f"{result.reason}{code}", gone)

    def suspended(self) -> list[Suspension]:
        """The suspensions in force of endpoints that are published."""
        now, found = self._clock(), (self._known(each.endpoint) for each in self._book.all.values())
        return [each for each in found if each is not None and (each.until is None or each.until > now)]

    def problems(self) -> list[str]:
        """What a person should look at."""
        return [
            f"endpoint {each.endpoint} is suspended {_until(each)}: {each.reason}; "
            f"`ebbtide endpoints lift {each.endpoint}` ends that"
            for each in self.suspended()
        ]

    async def run(self) -> None:
        """Share with other workers what was found out, until cancelled. Without endpoints one question is enough."""
        while True:
            self._watchdog.beat()
            if self._book.all or not self.known:
                await self.exchange()
            await asyncio.sleep(FOLLOW_S)

    async def exchange(self) -> None:
        """Write what is new here, and read what holds."""
        found, self._found = self._found, {}
        lifted, self._lifted = self._lifted, set()

        async def exchange(connection: AsyncConnection[Any]) -> list[Suspension]:
            if found:
                await suspensions.suspend(connection, found.values())
            if lifted:
                await suspensions.lift(connection, lifted)
            return await suspensions.read(connection)

        self._follow({each.endpoint: each for each in await self._database.run(exchange)})

    def _follow(self, now: dict[str, Suspension]) -> None:
        before, self._suspended, self.known = self._suspended, now, True
        for name, each in now.items():
            if each != before.get(name):
                self._log.warning(
                    "endpoint_suspended",
                    endpoint=name,
                    reason=each.reason,
                    until=None if each.until is None else each.until.isoformat(),
                    times=each.times,
                    next_step=f"ebbtide endpoints lift {name}",
                )
        for name in before.keys() - now.keys():
            self._failures.pop(_of(before[name]), None)
            self._log.info("endpoint_resumed", endpoint=name)
        if before != now:
            self._changed()

    def _known(self, endpoint: Endpoint) -> Suspension | None:
        """The suspension of an endpoint as it is published, also one whose time is over."""
        known = self._suspended.get(endpoint.name)
        return known if known is not None and _of(known) == _target(endpoint) else None


def _target(endpoint: Endpoint) -> _Target:
    return endpoint.name, url_hash(endpoint.url)


def _of(suspension: Suspension | NewSuspension) -> _Target:
    return suspension.endpoint, suspension.url_hash


def _until(suspension: Suspension) -> str:
    return "for good" if suspension.until is None else f"until {suspension.until:%Y-%m-%d %H:%M:%S} UTC"

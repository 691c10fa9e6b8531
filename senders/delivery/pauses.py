"""Makes commands due whose pause has ended: after each new switch, and in each partition that arrives.

Also those that a person wants to be retried now.

Between two switches a paused command costs nothing: it waits in the ledger until its pause or its life ends.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import describe
from schemas.rules import DELIVERY, RETRIED_KINDS, Control
from schemas.vocabulary import DeliveryReason
from senders.delivery.ownership import PartitionOwnership
from senders.policy.switches import DeliverySwitches
from senders.queue import pauses
from senders.queue.pauses import ReleasePlace

BATCH = 5_000
"""Rows at once. Mail of others waits meanwhile."""
REST = timedelta(minutes=1)
"""How long no look goes on after a statement that took longer than one may. Mails begin meanwhile."""


@dataclass(slots=True)
class _Pass:
    """One look at every waiting row, under the switches with this number."""

    number: int = 0
    places: dict[int, ReleasePlace | None] = field(default_factory=dict)
    """How far the look has got in each partition; None where nothing is left to release."""
    rests_until: datetime | None = None


@dataclass(slots=True)
class _Retry:
    """What a person wants to be retried now, and where that is still to be done."""

    request: Control
    partitions: list[int]


class PauseRelease:
    """Used by the scheduler's task, with its database."""

    def __init__(
        self,
        database: AsyncDatabase,
        switches: DeliverySwitches,
        ownership: PartitionOwnership,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._switches = switches
        self._ownership = ownership
        self._clock = clock
        self._pass = _Pass()
        self._retries: list[_Retry] = []
        self._log = structlog.get_logger("senders.delivery.pauses")

    def again(self) -> None:
        """Look again at every row: one was paused by a switch that may have changed before the row was written."""
        self._pass = _Pass()

    async def release(self) -> bool:
        """Release at most a batch, if the switches or the partitions are others than before. Then retry.

        A statement that times out is of one partition only, and holds up nothing else. Returns whether a person wants
        something retried: also what stands in lines, whose rows stay as they are.
        """
        await self._release()
        held, requests = sorted(self._ownership.held), self._take_retries()
        self._retries += [_Retry(request, held.copy()) for request in requests]
        if self._retries:
            await self._retry(self._retries[0])
            if not self._retries[0].partitions:
                del self._retries[0]
        return bool(requests)

    def _take_retries(self) -> list[Control]:
        """The requests that came since the last call, without those that name what cannot be retried."""
        possible = []
        for request in self._switches.take_retries():
            kind, _ = _kind_and_name(request)
            if kind in ("", *RETRIED_KINDS):
                possible.append(request)
            else:
                self._log.warning("retry_not_possible", scope=request.scope, number=request.number)
        return possible

    async def _retry(self, retry: _Retry) -> None:
        """Make at most a batch due. A partition that takes longer than a statement may is left out."""
        request, partitions, retried = retry.request, retry.partitions, 0
        while partitions and retried < BATCH:
            partition, count = partitions[0], 0
            try:
                if partition in self._ownership.held:
                    count = await self._retry_in(partition, request, BATCH - retried)
            except QueryCanceled as error:
                self._log.error(
                    "retry_timed_out",
                    partition=partition,
                    scope=request.scope,
                    number=request.number,
                    error=describe(error),
                )
                del partitions[0]
                break
            retried += count
            if retried < BATCH:
                del partitions[0]
        self._log.info("retried_now", count=retried, scope=request.scope, number=request.number)

    async def _retry_in(self, partition: int, request: Control, limit: int) -> int:
        kind, name = _kind_and_name(request)
        trigger, purpose = (name if kind == each else None for each in ("trigger", "purpose"))
        way = (kind, name) if kind not in ("", "trigger", "purpose") else None
        now = self._clock()
        return await self._database.run(
            lambda connection: pauses.retry_now(connection, [partition], trigger, purpose, now, limit, way)
        )

    async def _release(self) -> None:
        number, now = self._switches.number, self._clock()
        if self._pass.number != number:
            self._pass = _Pass(number)
        released = await self._look(self._pass, DeliveryReason.PAUSED, self._switches.holding(now), now)
        if released:
            self._log.info("paused_commands_due", count=released, switch=number)

    async def _look(self, this: _Pass, reason: DeliveryReason, holding: Collection[str], now: datetime) -> int:
        """Release at most a batch of what waits for this reason, and note how far the look has got."""
        held, released = self._ownership.held, 0
        if this.rests_until is not None and now < this.rests_until:
            return 0
        this.places = {each: place for each, place in this.places.items() if each in held}
        for partition in sorted(held):
            since = this.places.get(partition, pauses.BEGINNING)
            if since is not None and released < BATCH:
                limit = BATCH - released
                release = partial(
                    pauses.release,
                    partition=partition,
                    since=since,
                    reason=reason,
                    holding=holding,
                    now=now,
                    limit=limit,
                )
                try:
                    count, place = await self._database.run(release)
                except QueryCanceled as error:
                    this.rests_until = now + REST
                    self._log.warning("statement_timed_out", error=describe(error), next_step="tried again in a minute")
                    break
                this.places[partition] = place if count == limit else None
                released += count
        return released


def _kind_and_name(request: Control) -> tuple[str, str]:
    kind, _, name = request.scope.removeprefix(DELIVERY).lstrip("/").partition("/")
    return kind, name

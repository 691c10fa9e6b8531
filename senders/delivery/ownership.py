"""The partitions of `commands` that this worker owns, and the mail transactions that are open in them."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog


@dataclass(eq=False, slots=True)
class _Transaction:
    partition: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class PartitionOwnership:
    """Used in the event loop's thread only.

    An assigned partition is `arriving` until the scheduler has taken it over in the ledger. From then on it is `held`,
    and its commands may be sent.
    """

    def __init__(self, stop_within_s: float) -> None:
        self._stop_within_s = stop_within_s
        self._held: set[int] = set()
        self._arriving: set[int] = set()
        self._open: set[_Transaction] = set()
        self._stopped = False
        self._log = structlog.get_logger("senders.delivery.ownership")

    @property
    def held(self) -> frozenset[int]:
        """The partitions whose commands this worker sends."""
        return frozenset(self._held)

    @property
    def arriving(self) -> frozenset[int]:
        """The assigned partitions that this worker does not hold yet."""
        return frozenset(self._arriving)

    @property
    def open_transactions(self) -> int:
        """How many mail transactions are open."""
        return len(self._open)

    def assign(self, partitions: Collection[int]) -> None:
        """Note partitions that Kafka assigned. Does nothing once the worker is stopped."""
        if not self._stopped:
            self._arriving.update(partitions)

    def hold(self, partitions: Collection[int]) -> None:
        """Hold those of these partitions that are still arriving."""
        ready = self._arriving.intersection(partitions)
        self._arriving -= ready
        self._held |= ready

    @contextmanager
    def transaction(self, partition: int) -> Iterator[None]:
        """An open mail transaction: `give_up` waits for its end."""
        transaction = _Transaction(partition)
        self._open.add(transaction)
        try:
            yield
        finally:
            self._open.discard(transaction)
            transaction.ended.set()

    async def give_up(self, partitions: Collection[int]) -> None:
        """Begin nothing more in these partitions, and wait for their open mail transactions, within a bound."""
        self._held.difference_update(partitions)
        self._arriving.difference_update(partitions)
        if self._stopped:
            return  # `stop` has waited for every transaction already
        transactions = [transaction for transaction in self._open if transaction.partition in partitions]
        try:
            async with asyncio.timeout(self._stop_within_s):
                for transaction in transactions:
                    await transaction.ended.wait()
        except TimeoutError:
            left = sum(not transaction.ended.is_set() for transaction in transactions)
            self._log.warning("mail_still_in_flight", count=left, next_step="the next owner puts it in doubt")

    async def stop(self) -> None:
        """Give up all partitions, and take no other."""
        await self.give_up(self._held | self._arriving)
        self._stopped = True

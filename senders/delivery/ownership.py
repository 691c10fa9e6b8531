"""The partitions of `commands` that this worker owns, and its open mail transactions."""

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import structlog


class PartitionOwnership:
    """Used in the event loop's thread only.

    An assigned partition is `arriving` until the scheduler has taken it over in the ledger. From then on it is `held`,
    and its commands may be sent. A mail that has begun is ended here, also if its partition moves meanwhile.
    """

    def __init__(self, stop_within_s: float) -> None:
        self._stop_within_s = stop_within_s
        self._held: set[int] = set()
        self._arriving: set[int] = set()
        self._open: set[asyncio.Event] = set()
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
    def transaction(self) -> Iterator[None]:
        """An open mail transaction: `stop` waits for its end."""
        ended = asyncio.Event()
        self._open.add(ended)
        try:
            yield
        finally:
            self._open.discard(ended)
            ended.set()

    def give_up(self, partitions: Collection[int]) -> None:
        """Begin nothing more in these partitions. Their open mail transactions go on."""
        self._held.difference_update(partitions)
        self._arriving.difference_update(partitions)

    async def stop(self) -> None:
        """Give up all partitions, take no other, and wait for open mail transactions, within a bound."""
        self.give_up(self._held | self._arriving)
        self._stopped = True
        transactions = list(self._open)
        try:
            async with asyncio.timeout(self._stop_within_s):
                for ended in transactions:
                    await ended.wait()
        except TimeoutError:
            left = sum(not ended.is_set() for ended in transactions)
            self._log.warning("mail_still_in_flight", count=left, next_step="another worker puts it in doubt")

"""Fills a worker's permit books from the table that all workers share."""

import time
from collections.abc import Sequence
from typing import Any

import structlog
from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from senders.shaping import permit_table
from senders.shaping.gcra import MOST_SPREAD_US, SECOND_US, PacedLimit, PermitRequest
from senders.shaping.permit_table import PermitAnswer
from senders.shaping.permits import ClockReading, PermitBook, ServerClock

MAX_NAMED = 5
"""Limits that a log event or the status names."""


class PermitTaker:
    """Used in the event loop's thread; `database` is used by nothing else."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._clock = ServerClock()
        self._books: dict[str, PermitBook] = {}
        self._used: set[str] = set()
        """The books that were asked for since unused ones were dropped."""
        self._seen: dict[str, tuple[int, int]] = {}
        """Of each book, how many permits were granted and how many came late, when that was last looked at."""
        self.late: list[str] = []
        """The limits whose permits came too late to be used, as of the last look."""
        self._log = structlog.get_logger("senders.shaping.permit_taker")

    @property
    def books(self) -> dict[str, PermitBook]:
        """The books by the name of their limit."""
        return self._books

    def book(self, limit: PacedLimit) -> PermitBook:
        """The book of a limit. If its rate has changed, an empty one: permits of the old rate are void."""
        self._used.add(limit.name)
        book = self._books.get(limit.name)
        if book is None or book.limit != limit:
            book = self._books[limit.name] = PermitBook(limit)
        return book

    def drop_unused(self) -> None:
        """Forget the books that nobody has asked for since the last call."""
        self._books = {name: book for name, book in self._books.items() if name in self._used}
        self._used = set()

    def reading(self) -> ClockReading:
        """The server's clock now; before its first answer one at which no permit is usable."""
        if not self._clock.known:
            return ClockReading(0, 0)
        return self._clock.reading(_monotonic_us())

    @property
    def trip_s(self) -> float:
        """How long the database takes to answer."""
        return self._clock.trip_us / SECOND_US

    def look_for_late(self) -> None:
        """Note of which limits more permits than not came too late since the last look; logs it when that begins."""
        counts = {name: (book.counts.granted, book.counts.late) for name, book in self._books.items()}
        late = [name for name, now in counts.items() if _most_are_late(self._seen.get(name, (0, 0)), now)]
        self._seen = counts
        if late and not self.late:
            self._log.warning(
                "permits_late",
                limits=late[:MAX_NAMED],
                round_trip_s=round(self.trip_s, 3),
                most_s=MOST_SPREAD_US / SECOND_US,
                next_step="nothing begins under these limits until the ledger's database answers sooner",
            )
        self.late = late

    def problems(self) -> list[str]:
        """What a person should look at."""
        return [
            f"permits of {name!r} come too late: the ledger's database answers after {self.trip_s:.1f} s "
            f"(up to {MOST_SPREAD_US / SECOND_US:.1f} s is made up for, once it is measured)"
            for name in self.late[:MAX_NAMED]
        ]

    async def take(self, requests: Sequence[PermitRequest]) -> None:
        """Takes permits, and learns the server's clock from the answer. Waits while the database is away."""

        async def work(connection: AsyncConnection[Any]) -> list[PermitAnswer]:
            sent_us = _monotonic_us()
            answers = await permit_table.take(connection, requests)
            server_us = answers[0].server_us if answers else await permit_table.clock_us(connection)
            self._clock.observe(sent_us, _monotonic_us(), server_us)
            return answers

        for answer in await self._database.run(work, alone=True):
            limit = answer.limit.widened(0)
            if self._books.get(limit.name, PermitBook(limit)).limit != limit:
                continue  # it has another rate now
            book = self.book(limit)
            book.shared(answer.spread_us, answer.spread_until_us)
            if answer.granted is None:
                book.spent(answer.again_us)
            else:
                book.add(answer.granted, self.reading())


def _most_are_late(before: tuple[int, int], now: tuple[int, int]) -> bool:
    granted, late = (after - first for after, first in zip(now, before, strict=True))
    return late > granted / 2


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000

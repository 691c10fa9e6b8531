"""Fills a worker's permit books from the table that all workers share."""

import time
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from senders.shaping import permit_table
from senders.shaping.gcra import PacedLimit
from senders.shaping.permit_table import PermitAnswer, PermitRequest
from senders.shaping.permits import ClockReading, PermitBook, ServerClock


class PermitTaker:
    """Used in the event loop's thread; `database` is used by nothing else."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._clock = ServerClock()
        self._books: dict[str, PermitBook] = {}
        self._used: set[str] = set()
        """The books that were asked for since unused ones were dropped."""

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

    async def take(self, requests: Sequence[PermitRequest]) -> None:
        """Takes permits, and learns the server's clock from the answer. Waits while the database is away."""

        async def work(connection: AsyncConnection[Any]) -> list[PermitAnswer]:
            sent_us = _monotonic_us()
            answers = await permit_table.take(connection, requests)
            server_us = answers[0].server_us if answers else await permit_table.clock_us(connection)
            self._clock.observe(sent_us, _monotonic_us(), server_us)
            return answers

        for answer in await self._database.run(work):
            book = self.book(answer.limit)
            if answer.granted is None:
                book.spent(answer.again_us)
            else:
                book.add(answer.granted, self.reading())


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000

"""The body of a request: read within a size, a time, and the memory that all bodies together may take."""

import asyncio
from collections.abc import AsyncIterable, Awaitable
from dataclasses import dataclass, field
from typing import Any

ALL_BODIES = 64 * 1024 * 1024
"""What the bodies that are being read may take together."""
SMALL = 65_536
"""A body that announces no more is not counted: a connection has one, and their number is bounded."""


class BodyRefused(Exception):
    """A body that is not taken: the status of the answer, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(slots=True)
class BodyReader:
    """Reads the bodies of one process. No body is larger than `largest` bytes, or may take longer than `within_s`."""

    largest: int
    within_s: float
    together: int = ALL_BODIES
    taken: int = 0
    _ends_s: dict["asyncio.Task[Any]", float] = field(default_factory=dict)
    """When the bodies that are awaited must have arrived, by the tasks that await them, the first one first."""
    _timer: asyncio.TimerHandle | None = None

    def announced(self, length: str | None) -> int | None:
        """The size that the header `Content-Length` announces; None if there is none. Raises BodyRefused."""
        if length is None:
            return None
        if not (length.isascii() and length.isdecimal()):
            raise BodyRefused(400, "Content-Length is not a number")
        size = int(length[:20])
        if size > self.largest:
            raise self._too_large()
        return size

    async def whole(self, body: Awaitable[bytes]) -> bytes:
        """The body when it has arrived. Raises BodyRefused if that takes too long."""
        # one timer for all: with one for each, as asyncio.timeout has it, a small request takes a tenth longer
        task = asyncio.current_task()
        assert task is not None, "requests are handled in tasks"
        loop = asyncio.get_running_loop()
        self._ends_s[task] = loop.time() + self.within_s
        if self._timer is None:
            self._timer = loop.call_later(self.within_s, self._end_late, loop)
        try:
            return await body
        except asyncio.CancelledError:
            if task in self._ends_s:
                raise
            task.uncancel()
            raise BodyRefused(408, f"the body did not arrive within {self.within_s:g} s") from None
        finally:
            self._ends_s.pop(task, None)

    def _end_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancels the tasks whose bodies are late, and comes again when the next one would be."""
        self._timer, now_s = None, loop.time()
        for task, end_s in list(self._ends_s.items()):
            if end_s > now_s:
                self._timer = loop.call_at(end_s, self._end_late, loop)
                return
            del self._ends_s[task]
            task.cancel()

    async def read(self, chunks: AsyncIterable[bytes], announced: int | None) -> bytes:
        """The whole body, in parts. Raises BodyRefused."""
        return await self.whole(self._joined(chunks, announced))

    async def _joined(self, chunks: AsyncIterable[bytes], announced: int | None) -> bytes:
        parts: list[bytes] = []
        size = 0
        try:
            async for chunk in chunks:
                size += len(chunk)
                self.taken += len(chunk)
                if size > self.largest:
                    raise self._too_large()
                if self.taken > self.together:
                    raise BodyRefused(429, "more bodies arrive than this process takes at once")
                parts.append(chunk)
        finally:
            self.taken -= size
        if announced is not None and size != announced:
            raise cut_off()
        return b"".join(parts)

    def _too_large(self) -> BodyRefused:
        return BodyRefused(413, f"the body is larger than {self.largest} bytes")


def cut_off() -> BodyRefused:
    """What is wrong with a body that ends elsewhere than it announced."""
    return BodyRefused(400, "the body does not have the length that it announced")

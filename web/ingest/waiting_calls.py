"""The calls that wait for PostgreSQL: how many bytes they may take together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MOST_BYTES = 64 * 1024 * 1024
"""Of bodies, inflated. What is read from one takes several times as much."""


class WaitingFull(Exception):
    """So much waits for PostgreSQL that this call must come again."""


@dataclass(slots=True)
class WaitingCalls:
    """One for a process. One call alone always has room."""

    most: int = MOST_BYTES
    bytes: int = 0

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Room for a call of this size as long as the block runs. Raises WaitingFull."""
        if self.bytes and self.bytes + size > self.most:
            raise WaitingFull
        self.bytes += size
        try:
            yield
        finally:
            self.bytes -= size

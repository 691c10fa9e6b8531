"""Where ingest puts what it has read, and what keeps it from that now."""

from collections.abc import Sequence
from typing import Protocol

from web.ingest.reading import EventRecord


class LogAway(Exception):
    """Kafka does not acknowledge events now. Those of the call may have been written."""


class LogFull(Exception):
    """More events wait for Kafka than a process keeps. Some of the call may have been written."""


class EventWriter(Protocol):
    """Writes events to Kafka."""

    def require_room(self, events: int, size: int) -> None:
        """Raises LogAway or LogFull if that is known of so many events, which have so many bytes together."""

    async def write(self, records: Sequence[EventRecord]) -> None:
        """Returns when all in-sync replicas have the records. Raises LogAway or LogFull."""

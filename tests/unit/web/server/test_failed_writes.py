"""What is kept of events that Kafka does not take: nothing, since searches for reference cycles are rare."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from infra.kafka.connection import Connection
from infra.service.outages import Outage
from web.ingest.outlets import LogAway
from web.ingest.reading import EventRecord
from web.server.event_log import EventLog


class Records(list[EventRecord]):
    """A list that weak references can name."""


class Nobody:
    def acknowledged(self, seconds: float) -> None:
        raise AssertionError(seconds)


@pytest.fixture
def no_search() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_search")
async def test_events_that_fail_are_not_kept_by_their_error() -> None:
    log = EventLog(Connection("127.0.0.1:1"), Outage("kafka"), Nobody())
    records = Records([EventRecord(b"u", b"x" * 2_000_000)])  # more than the client takes
    kept = weakref.ref(records)
    try:
        await log.write(records)
    except LogAway:
        del records
    assert kept() is None
    assert (log.events, log.bytes) == (0, 0)
    await log.finish(0)

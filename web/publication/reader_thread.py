"""A reader of Kafka, which blocks in a thread of its own, as a part of the process that ends by cancellation."""

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any

from infra.kafka.batch_reader import BatchReader
from infra.postgres.database import IDLE_IN_TRANSACTION_S, Database
from infra.postgres.stores import Store
from infra.service.tasks import run_in_thread

END_WITHIN_S = 1.0
"""After this long an open statement is broken off. Cancelled again, the part ends without its thread."""

MakeReader = Callable[[Database, Event], BatchReader[Any]]


async def read_in_thread(name: str, store: Store, make: MakeReader, beat: Callable[[], None] = lambda: None) -> None:
    """Read until cancelled. Raises the reader's error. The thread calls `beat` in each turn."""
    halt = Event()
    database = Database(store.url, store.outage, halt, beat, IDLE_IN_TRANSACTION_S)
    reading = run_in_thread(name, make(database, halt).run)
    try:
        await asyncio.shield(reading)
    finally:
        halt.set()
        if not reading.done():
            await asyncio.wait({reading}, timeout=END_WITHIN_S)
            database.interrupt()
            await asyncio.wait({reading}, timeout=END_WITHIN_S)

"""Publishes the outbox of web: profiles, and events of visitors for their users.

What is in the outbox is durable. It leaves it after Kafka has acknowledged it, so a crash in between publishes it
again: the same profile or a newer one, and the same event with the same id.

Processes take turns by a lease, and what is published is selected under it, so no older profile follows a newer one.
(Should that happen nevertheless, the follower sees it and the profile is published again.) A profile waits until the
follower of `profiles` has been at the end of each partition lately, and since this process took over: else it might
lack what a backend published, or what the store itself did before it was set back.
"""

import asyncio
import time
import uuid
from collections.abc import Callable

import structlog
from confluent_kafka import KafkaException
from psycopg.errors import QueryCanceled

from infra.kafka.connection import Connection
from infra.postgres.database import AsyncDatabase
from infra.service.faults import Fault, describe, fault_of_kafka
from infra.service.outages import Outage, backoff_s
from infra.service.tasks import run_in_thread
from web.profiles import outbox
from web.profiles.outbox import LEASE_S
from web.profiles.outbox_producer import WRITE_WITHIN_S, OutboxProducer, records_of

BATCH = 250
"""Small: what is published under the lease must end within it."""
POLL_S = 0.1
"""How often the process with the lease looks; the others look every TURN_S."""
TURN_S = 1.0


class OutboxPublisher:
    """One task of the process. Of all processes of a database, one at a time publishes.

    `observe` is told how many entries were published.
    """

    def __init__(
        self,
        connection: Connection,
        database: AsyncDatabase,
        partitions: int,
        outage: Outage,
        beat: Callable[[], None] = lambda: None,
        observe: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._partitions = partitions
        self._outage = outage
        self._beat = beat
        self._observe = observe
        self._owner = uuid.uuid4().hex
        self._publication: int | None = None
        self._producer = OutboxProducer(connection)
        self._has_turn = False
        self._log = structlog.get_logger("web.profiles.outbox_publisher")

    async def run(self) -> None:
        """Publish, until cancelled."""
        waits = backoff_s()
        while True:
            self._beat()
            try:
                published = await self.publish_batch()
            except KafkaException as error:
                if fault_of_kafka(error.args[0]) is Fault.PROCESS:
                    raise
                self._outage.away(error)
                await asyncio.sleep(next(waits))
                continue
            except QueryCanceled as error:
                self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
                published = 0
            if published or await self._kafka_answers_again():
                self._outage.back()
                waits = backoff_s()
            if published is None:
                await asyncio.sleep(TURN_S)
            elif published < BATCH:
                await asyncio.sleep(POLL_S)

    async def publish_batch(self) -> int | None:
        """Publish at most BATCH entries. Returns how many, or None if it is another process's turn.

        Raises KafkaException if Kafka does not take all of them.
        """
        began_s = time.monotonic()
        batch = await self._database.run(
            lambda connection: outbox.next_batch(connection, self._owner, self._partitions, BATCH, self._publication)
        )
        self._note_turn(batch is not None)
        if batch is None:
            return None
        self._publication = batch.publication
        if not batch.entries or time.monotonic() - began_s > LEASE_S - WRITE_WITHIN_S:
            return 0
        publication = await run_in_thread("outbox-publish", lambda: self._producer.publish(records_of(batch)))
        if publication.refused:
            self._log.error("outbox_entries_refused", count=len(publication.refused), next_step="they are left out")
        if publication.cut:
            self._log.error("profiles_cut", count=publication.cut, next_step="make their attributes smaller")
        gone = publication.done + publication.refused
        await self._database.run(lambda connection: outbox.remove(connection, gone))
        self._observe(len(publication.done))
        if publication.error is not None:
            raise KafkaException(publication.error)
        return len(batch.entries)

    async def _kafka_answers_again(self) -> bool:
        """Whether Kafka was away and answers now: another process may have published what this one could not."""
        return self._outage.is_away and await run_in_thread("outbox-probe", self._producer.answers)

    def _note_turn(self, has_turn: bool) -> None:
        if has_turn != self._has_turn:
            self._has_turn = has_turn
            self._log.info("outbox_taken_over" if has_turn else "outbox_lost")

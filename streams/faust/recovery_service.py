"""Faust's slots for recovery: its table manager, and the recovery service that it starts at each rebalance.

`assignment` decides what is recovered and in which order. This module runs it between Faust's rebalance and its
streams.
"""

from collections.abc import Iterable
from typing import Any

import structlog
from confluent_kafka import KafkaException
from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import RebalanceAgain, ServiceStopped
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP
from mode import Service

from infra.kafka.topics import TopicPartition
from streams.faust.background import BackgroundLoop
from streams.faust.table import Table
from streams.runtime.ending import end_process
from streams.runtime.recovery import NewerAssignment

log = structlog.get_logger()


class Recovery(FaustRecovery):
    """Recovers at each rebalance, then lets Faust resume its streams."""

    _assigned: frozenset[TopicPartition] = frozenset()

    async def on_rebalance(
        self,
        assigned: set[TP],
        revoked: set[TP],  # noqa: ARG002 - all state was dropped with the revocation
        newly_assigned: set[TP],  # noqa: ARG002
        generation_id: int = 0,
    ) -> None:
        """Records the assignment and wakes the task that recovers it."""
        self._assigned = frozenset(TopicPartition(*tp) for tp in assigned)
        self._generation_id = generation_id
        self.signal_recovery_start.set()

    def flush_buffers(self) -> None:
        """Nothing is buffered."""

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Nothing: changelogs are not subscribed to."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Nothing: the recovery logs its progress."""

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(self.signal_recovery_start):  # type: ignore[arg-type]
                break
            self.signal_recovery_start.clear()
            generation = self._generation_id
            try:
                await self._recover(generation)
            except (NewerAssignment, RebalanceAgain):  # Faust's own: a rebalance came while the streams resumed
                log.info("recovery_overtaken")
            except ServiceStopped:
                break
            except (KafkaException, OSError) as error:
                if generation == self.app.consumer_generation_id:
                    end_process(f"the state could not be recovered: {error}")

    async def _recover(self, generation: int) -> None:
        app: Any = self.app
        app.in_recovery = self.in_recovery = True
        self.completed.clear()
        consumer = app.consumer

        def still_assigned() -> bool:
            return bool(app.consumer_generation_id == generation)

        starts = await consumer.recovery.recover(self._assigned, consumer.membership, still_assigned)
        consumer.start_from(starts)
        app.in_recovery = self.in_recovery = False
        await self._resume_streams(generation_id=generation)


class TableManager(FaustTableManager):
    """Keeps Faust's tables without subscribing to their changelogs."""

    @property
    def recovery(self) -> Recovery:
        """The recovery service."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        assert isinstance(self._recovery, Recovery)
        return self._recovery

    async def on_start(self) -> None:
        """Starts at once. Faust's own manager waits a second for tables to be declared."""
        app: Any = self.app
        await app.runtime.check_topics(app.consumer.offsets)
        await self._update_channels()
        await self.add_runtime_dependency(BackgroundLoop(app.runtime.topic_watch.run))  # all topics exist now
        await self.recovery.start()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        for table in self.values():
            await table.maybe_start()
        self._tables_registered.set()

    def local(self) -> Iterable[Table]:
        """The tables of the runtime."""
        return [table for table in self.values() if isinstance(table, Table)]

"""The Faust application of a worker: Faust's settings, and our classes in Faust's slots."""

from typing import Any

import faust

from streams.faust.batches import GatedStream
from streams.faust.recovery_service import TableManager
from streams.faust.settings import RuntimeSettings
from streams.faust.table import Table


class Application(faust.App):
    """An application. `Runtime` sets itself and the transport on it."""

    runtime: Any

    def __init__(self, settings: RuntimeSettings) -> None:
        super().__init__(
            settings.name,
            broker=f"kafka://{settings.connection.servers.replace(',', ';kafka://')}",  # shown in logs only
            processing_guarantee="exactly_once",
            store="memory://",
            topic_partitions=settings.partitions,
            topic_disable_leader=True,
            table_standby_replicas=0,
            broker_commit_interval=settings.checkpoint_s,
            broker_commit_every=10**12,
            broker_max_poll_records=None,
            stream_buffer_maxsize=8,
            stream_recovery_delay=0.0,
            stream_wait_empty=False,
            cython_optimizations=True,
            Table=Table,
            TableManager=TableManager,
            Stream=GatedStream,
            **settings.faust,
        )

    async def on_stop(self) -> None:
        """Commits while events still flow, so that events in progress finish, then stops Faust."""
        await self.runtime.finish()
        await super().on_stop()

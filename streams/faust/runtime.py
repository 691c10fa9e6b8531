"""The runtime: its parts put together, and the agent that applies the merged inputs.

It serves any Faust application: it knows partitions, records, tables and time, and not what they mean.
"""

from collections.abc import Callable
from typing import Any

import structlog
from confluent_kafka import Message

from streams.faust.application import Application
from streams.faust.batches import BatchProcessor, PassThrough, Processor
from streams.faust.core import RuntimeCore
from streams.faust.settings import RuntimeSettings
from streams.faust.transport import Transport
from streams.runtime.checkpoint import Journal
from streams.runtime.clock import Batch
from streams.runtime.commit import Committer
from streams.runtime.ending import end_process

log = structlog.get_logger()


class Runtime(RuntimeCore):
    """One worker. Create it, declare tables and agents on its `app`, and set a processor with `process_with`."""

    def __init__(
        self,
        settings: RuntimeSettings,
        journal: Journal | None = None,
        committer: Callable[[Any], Committer] = Committer,
    ) -> None:
        super().__init__(settings, Application(settings), journal, committer)
        self.app.runtime = self
        self.app.transport = self.app.producer_transport = Transport(self, self.app)

    def process_with(self, processor: Processor) -> None:
        """Registers the agent that applies the merged inputs with `processor`."""
        self.processor = BatchProcessor(processor, self.buffer)
        channel = self.app.topic(*self.settings.inputs, schema=PassThrough(), partitions=self.settings.partitions)

        async def process(stream: Any) -> None:
            async for batch in stream:
                await self.apply(batch)

        self.app.agent(channel, name="process")(process)

    async def apply(self, batch: Batch[Message]) -> None:
        """Applies one batch without suspending. Ends the process if it fails."""
        assert self.processor is not None
        try:
            self.processor(batch)
        except Exception:
            log.exception("batch_failed", partition=batch.partition)
            end_process("a batch failed outside of a record, and to continue would lose its records")

"""The stream runtime with the bare loop's job, to measure the cost of the runtime itself. A separate process."""

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import faust
import msgspec
from confluent_kafka import Message

from infra.kafka.connection import Connection
from perf.jobs import score
from streams.decisions.journal import CheckpointJournal
from streams.faust.runtime import Runtime
from streams.faust.settings import RuntimeSettings
from streams.faust.worker import StreamWorker
from streams.runtime.checkpoint import OffsetMetadata, Output


class SpikeProcessor:
    """The job as a processor of the runtime. Its state is a table, encoded as in the bare loop.

    It encodes by msgspec: bytes of orjson take 4 KiB each as long as they are kept.
    """

    def __init__(self, runtime: Runtime, group: str) -> None:
        self._emit = runtime.emit
        self._group = group
        codec = (lambda _, state: msgspec.json.encode(state), lambda _, raw: msgspec.json.decode(raw))
        self._table = runtime.app.Table("users", partitions=runtime.settings.partitions, options={"codec": codec}).local

    def ready(self, versions: Mapping[str, int]) -> bool:  # noqa: ARG002 - it needs nothing
        """Always."""
        return True

    def loaded(self, partition: int, mark: OffsetMetadata) -> None:
        """Nothing: all its state is in the table."""

    def dropped(self) -> None:
        """Nothing."""

    def before_batch(self, partition: int, clock_ms: int) -> int:  # noqa: ARG002
        """No rules, no plans."""
        return 0

    def record_handler(self, partition: int, topic: str) -> Callable[[Message, int], None]:  # noqa: ARG002 - there is one input
        """The function that applies one event."""
        users, group, emit = self._table.partition(partition), self._group, self._emit

        def apply(record: Message, now_ms: int) -> None:
            key: Any = record.key()
            value: Any = record.value()
            state, written = score(users.get(key), value, now_ms)
            users.put(key, state)
            for topic, what in written:
                emit(Output(f"{group}-{topic}", key, what, partition))

        return apply

    def failed(self, partition: int, record: Message, error: Exception, now_ms: int) -> None:  # noqa: ARG002
        """No record can fail by itself here, so an error ends the process."""
        raise error

    def fire(self, partition: int, now_ms: int) -> int:  # noqa: ARG002
        """There are no timers."""
        return 0

    def versions(self) -> Mapping[str, int]:
        """None."""
        return {}


def build(kafka: str, group: str, topic: str, partitions: int, folder: str) -> faust.App:
    """The application."""
    settings = RuntimeSettings(
        name=group,
        slot="0",
        connection=Connection(kafka),
        inputs=(topic,),
        partitions=partitions,
        faust={"web_enabled": False, "datadir": folder},
    )
    runtime = Runtime(settings, CheckpointJournal(f"{group}-journal"))
    runtime.process_with(SpikeProcessor(runtime, group))
    app: faust.App = runtime.app
    return app


if __name__ == "__main__":
    kafka, group, topic, partitions, folder = sys.argv[1:]
    logging.disable(logging.INFO)  # Faust's worker leaves the root at DEBUG: a discarded record for each event
    app = build(kafka, group, topic, int(partitions), folder)
    StreamWorker(app).execute_from_commandline()

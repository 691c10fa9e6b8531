"""Faust's producer slots: what agents send joins the open checkpoint."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # not in its __all__
from faust.transport.consumer import TransactionManager as FaustTransactionManager
from faust.transport.producer import Producer as FaustProducer
from faust.types import TP
from faust.types.tuples import RecordMetadata

from infra.kafka.retry import retry
from infra.kafka.topics import create_topics
from streams.faust.background import in_thread
from streams.runtime.checkpoint import Output

CREATE_TIMEOUT_S = 30.0


class Producer(FaustProducer):
    """The transactional producer of this worker. Nothing is sent outside a checkpoint."""

    transport: Any  # our Transport, which has the runtime

    async def on_start(self) -> None:
        """Fences every earlier producer of this transactional id. Waits for a broker that is away."""
        await super().on_start()
        await in_thread(self.transport.runtime.committer.open)

    async def create_topic(
        self,
        topic: str,
        partitions: int,
        replication: int,
        *,
        config: Mapping[str, Any] | None = None,
        compacting: bool | None = None,
        **_: Any,
    ) -> None:
        """Creates a topic if it does not exist."""
        settings = {**(config or {}), **({"cleanup.policy": "compact"} if compacting else {})}
        wanted = NewTopic(topic, partitions, replication, config=settings)
        admin = self.transport.runtime.admin
        await in_thread(lambda: retry(lambda: create_topics(admin, [wanted], CREATE_TIMEOUT_S)))

    def send_soon(self, fut: Any) -> None:
        """Adds the message to the open checkpoint at once, because later another one may be open."""
        message = fut.message
        channel = message.channel
        topic = channel if isinstance(channel, str) else channel.get_topic_name()
        headers = message.headers.items() if isinstance(message.headers, Mapping) else message.headers
        self.transport.runtime.emit(Output(topic, message.key, message.value, message.partition, list(headers or ())))
        fut.set_result(_metadata(topic, message.partition))

    async def flush(self) -> None:
        """Nothing: the open checkpoint has what was sent."""

    def supports_headers(self) -> bool:
        """Yes."""
        return True


class TransactionManager(FaustTransactionManager):
    """Adds everything that an agent sends to the open checkpoint."""

    transport: Any  # our Transport, which has the runtime

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,  # noqa: ARG002 - the broker sets LogAppendTime
        headers: Any,
        *,
        transactional_id: str | None = None,  # noqa: ARG002 - there is one
    ) -> Awaitable[RecordMetadata]:
        """Adds a record to the open checkpoint, whose commit makes it visible. The future is done at once."""
        pairs = list(headers.items() if isinstance(headers, Mapping) else headers or ())
        self.transport.runtime.emit(Output(topic, key, value, partition, pairs))
        sent: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
        sent.set_result(_metadata(topic, partition))
        return sent

    async def send_and_wait(self, topic: str, key: Any, value: Any, *args: Any, **kwargs: Any) -> RecordMetadata:
        """As `send`."""
        return await (await self.send(topic, key, value, *args, **kwargs))

    async def commit(self, offsets: Any, start_new_transaction: bool = True) -> bool:  # noqa: ARG002
        """Takes a checkpoint."""
        return bool(await self.transport.runtime.checkpointer.checkpoint())

    async def flush(self) -> None:
        """Nothing: the open checkpoint has what was sent."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Nothing: the consumer handles rebalances."""

    async def on_rebalance(self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP]) -> None:
        """Nothing: the consumer handles rebalances."""


def _metadata(topic: str, partition: int | None) -> RecordMetadata:
    at = -1 if partition is None else partition
    return RecordMetadata(topic, at, TP(topic, at), -1, None, None)

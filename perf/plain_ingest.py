"""What ingest is measured against: the handler that one writes first. FastAPI and pydantic, a future a message, and a
thread that polls. It checks the key and the shape of an event, and answers when Kafka has acknowledged it."""

import asyncio
import base64
import sys
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import uvicorn
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

from schemas.codec import PARTITIONER, encode
from schemas.events import Event
from schemas.topics import EVENTS


class PlainTrack(BaseModel):
    """A call of `track`."""

    userId: str  # noqa: N815  # Segment's name
    event: str
    messageId: str = Field(default_factory=lambda: uuid.uuid4().hex)  # noqa: N815
    timestamp: datetime = Field(default_factory=lambda: datetime.now(UTC))
    properties: dict[str, Any] = Field(default_factory=dict)
    context: dict[str, Any] = Field(default_factory=dict)


class PlainBatch(BaseModel):
    """Several of them."""

    batch: list[PlainTrack]


class PlainWriter:
    """Publishes events, and waits for each until Kafka has acknowledged it. A thread polls while `polled` runs."""

    def __init__(self, kafka: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": kafka,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": PARTITIONER,
                "compression.type": "lz4",
                "linger.ms": 5,
            }
        )
        self._ended = threading.Event()

    @asynccontextmanager
    async def polled(self, _: FastAPI) -> AsyncIterator[None]:
        """Reports acknowledgements until the block ends."""
        threading.Thread(target=self._poll, daemon=True).start()
        yield
        self._ended.set()

    def _poll(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(0.1)

    async def write(self, track: PlainTrack) -> None:
        """Publishes the event; raises KafkaException if Kafka does not take it."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def settle(error: KafkaError | None) -> None:
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(KafkaException(error))

        def reported(error: KafkaError | None, _: Message) -> None:
            loop.call_soon_threadsafe(settle, error)

        event = Event(
            id=track.messageId,
            type=track.event.lower().replace(" ", "_"),
            user_id=track.userId,
            time=track.timestamp,
            properties=track.properties,
            context=track.context,
            source="perf",
        )
        self._producer.produce(EVENTS.name, encode(event), track.userId.encode(), on_delivery=reported)
        await done


def plain_app(kafka: str, secret: str) -> FastAPI:
    """The application."""
    writer = PlainWriter(kafka)
    app = FastAPI(lifespan=writer.polled)
    expected = f"Basic {base64.b64encode(f'{secret}:'.encode()).decode()}"

    def check(authorization: str | None) -> None:
        if authorization != expected:
            raise HTTPException(401)

    @app.post("/v1/track")
    async def track(call: PlainTrack, authorization: Annotated[str | None, Header()] = None) -> dict[str, bool]:
        check(authorization)
        await writer.write(call)
        return {"success": True}

    @app.post("/v1/batch")
    async def batch(call: PlainBatch, authorization: Annotated[str | None, Header()] = None) -> dict[str, bool]:
        check(authorization)
        await asyncio.gather(*(writer.write(each) for each in call.batch))
        return {"success": True}

    return app


def main(kafka: str, port: int, secret: str) -> None:
    """Serve on uvicorn with its fastest parser and loop."""
    uvicorn.run(
        plain_app(kafka, secret), port=port, http="httptools", loop="uvloop", log_level="warning", access_log=False
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])

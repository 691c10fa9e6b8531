"""Faust as shipped, with one table: its transport, its memory store, at least once. A separate process."""

import sys
from typing import Any

import faust

from perf.inside import Meter


def build(kafka: str, group: str, topic: str, partitions: int, events: int, folder: str) -> faust.App:
    """An application that counts each user's events."""
    app = faust.App(
        group,
        broker=f"kafka://{kafka}",
        store="memory://",
        topic_partitions=partitions,
        topic_replication_factor=1,
        web_enabled=False,
        datadir=folder,
    )
    counts: Any = app.Table("counts", default=int, partitions=partitions)
    incoming = app.topic(topic, value_serializer="json", partitions=partitions)
    meter = Meter()

    @app.agent(incoming)
    async def count(stream: Any) -> None:
        done = 0
        async for event in stream:
            meter.begin()
            counts[event["user_id"]] += 1
            done += 1
            if done == events:
                meter.end(done)

    return app


if __name__ == "__main__":
    kafka, group, topic, partitions, events, folder = sys.argv[1:]
    app = build(kafka, group, topic, int(partitions), int(events), folder)
    faust.Worker(app, loglevel="WARNING", redirect_stdouts=False, quiet=True).execute_from_commandline()

"""The topics that a worker depends on, watched while it runs.

A topic that is deleted, recreated or given more partitions invalidates what a worker holds: offsets that mean other
records, state whose changelog is gone, keys that belong elsewhere. The watch reports it at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.kafka.partition_counts import TopicIdentity, existing_topics

log = structlog.get_logger()

CHECK_INTERVAL_S = 2.0
"""The time between two checks. A topic counts as deleted if two checks in a row miss it, since one broker may know less
than another for a moment."""


def changed(known: Mapping[str, TopicIdentity], seen: Mapping[str, TopicIdentity]) -> str | None:
    """The problem with a topic that still exists, and the next step; None if there is none."""
    for name in known.keys() & seen.keys():
        before, now = known[name], seen[name]
        if now.id != before.id:
            return (
                f"topic {name} was deleted and recreated while it was in use; what was read from it is no longer valid"
            )
        if now.partitions != before.partitions:
            return (
                f"topic {name} has {now.partitions} partitions and had {before.partitions}, so keys belong elsewhere; "
                f"recreate it with {before.partitions}"
            )
    return None


class TopicWatch:
    """Checks the topics while the worker runs, and calls `broken` with the first problem."""

    def __init__(self, admin: AdminClient, names: Callable[[], Iterable[str]], broken: Callable[[str], object]) -> None:
        self._admin = admin
        self._names = names
        self._broken = broken
        self._known: dict[str, TopicIdentity] = {}
        self._missed: set[str] = set()

    async def run(self, sleep: Callable[[float], Awaitable[None]], should_stop: Callable[[], bool]) -> None:
        """Checks until `should_stop` returns True."""
        loop = asyncio.get_running_loop()
        while not should_stop():
            names = set(self._names())
            try:
                seen = await loop.run_in_executor(None, existing_topics, self._admin, names)
            except KafkaException:
                seen = None  # the broker is away; the parts that need it log that
            if seen is not None:
                self._compare(names, seen)
            await sleep(CHECK_INTERVAL_S)

    def _compare(self, names: set[str], seen: Mapping[str, TopicIdentity]) -> None:
        missing = names - seen.keys()
        gone = missing & self._missed
        self._missed = missing
        if gone:
            self._broken(f"topic {', '.join(sorted(gone))} is gone; create it again, and restore its records if needed")
        elif found := changed(self._known, seen):
            self._broken(found)
        self._known = {**seen, **self._known}

"""The topics that a worker stands on: checked before it starts, and watched while it runs.

A topic that is deleted, made anew or given more partitions invalidates what a worker holds: offsets that mean other
records, state whose changelog is gone, keys that belong elsewhere. It is said as soon as it is seen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from infra.kafka.futures import REQUEST_TIMEOUT_S, completed
from infra.kafka.retry import error_of
from schemas.errors import UserError

log = structlog.get_logger()

LOOK_S = 2.0
"""Between two looks at the topics. A topic that is not there is believed gone when two looks in a row miss it, since
one broker may know less than another for a moment."""


class TopicsMissing(UserError):
    """The topics are not there, or disagree on their partition count."""


class Known(NamedTuple):
    """What identifies a topic: one of the same name that is made anew has another id."""

    id: str
    partitions: int


def look(admin: AdminClient, names: Iterable[str]) -> dict[str, Known]:
    """The topics among `names` that exist. Blocks; raises KafkaException where the broker does not answer."""
    wanted = list(names)
    if not wanted:
        return {}
    found = {}
    asked = admin.describe_topics(TopicCollection(wanted), request_timeout=REQUEST_TIMEOUT_S)
    for name, answer in completed(asked, 2 * REQUEST_TIMEOUT_S).items():
        try:
            topic = answer.result()
        except KafkaException as exception:
            if error_of(exception).code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
        else:
            found[name] = Known(str(topic.topic_id), len(topic.partitions))
    return found


def shared_count(admin: AdminClient, co_partitioned: Iterable[str], others: Iterable[str]) -> int:
    """The partition count that the topics in `co_partitioned` share; raises TopicsMissing where they do not, or where
    any topic is not there. Blocks."""
    together = list(co_partitioned)
    found = look(admin, [*together, *others])
    absent = sorted({*together, *others} - set(found))
    if absent:
        raise TopicsMissing(f"no topic {', '.join(absent)}; run `ebbtide topics` first")
    counts = {name: found[name].partitions for name in together}
    if len(set(counts.values())) > 1:
        raise TopicsMissing(f"topics disagree on their partition count {counts}; recreate them with one count")
    return counts[together[0]]


def changed(known: Mapping[str, Known], seen: Mapping[str, Known]) -> str | None:
    """What has become wrong with a topic that is still there, and the next step."""
    for name in known.keys() & seen.keys():
        before, now = known[name], seen[name]
        if now.id != before.id:
            return f"topic {name} was deleted and made anew while it was in use; what was read of it is void"
        if now.partitions != before.partitions:
            return (
                f"topic {name} has {now.partitions} partitions and had {before.partitions}: its keys belong elsewhere "
                f"now; recreate it with {before.partitions}"
            )
    return None


class TopicWatch:
    """Looks at the topics while the worker runs, and calls `broken` with the first problem."""

    def __init__(self, admin: AdminClient, names: Callable[[], Iterable[str]], broken: Callable[[str], object]) -> None:
        self._admin = admin
        self._names = names
        self._broken = broken
        self._known: dict[str, Known] = {}
        self._missed: set[str] = set()

    async def run(self, sleep: Callable[[float], Awaitable[None]], should_stop: Callable[[], bool]) -> None:
        """Looks until `should_stop`."""
        loop = asyncio.get_running_loop()
        while not should_stop():
            names = set(self._names())
            try:
                seen = await loop.run_in_executor(None, look, self._admin, names)
            except KafkaException:
                seen = None  # the broker is away; whoever needs it says so
            if seen is not None:
                self._compare(names, seen)
            await sleep(LOOK_S)

    def _compare(self, names: set[str], seen: Mapping[str, Known]) -> None:
        missing = names - seen.keys()
        gone = missing & self._missed
        self._missed = missing
        if gone:
            self._broken(f"topic {', '.join(sorted(gone))} is gone; make it again, with its records where they matter")
        elif found := changed(self._known, seen):
            self._broken(found)
        self._known = {**seen, **self._known}

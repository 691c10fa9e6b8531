"""Erases a person from the compacted topics: profiles, and the states of stream workers, which drop them themselves."""

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from cli.privacy import compaction
from cli.privacy.person_topic import PersonTopic
from cli.privacy.receipt import PlaceEnd, PlaceReceipt
from cli.privacy.topic_records import PersonRecord
from infra.kafka.publisher import Publisher
from schemas.topics import DAY_MS, HOUR_MS, PROFILES

POLL_S = 0.5
AGAIN_S = 3.0
"""After this a worker has dropped a state, unless it is behind or an event has made a new one."""


class TopicErasure:
    """Both topics of one person. They are read whole once."""

    def __init__(self, kafka: str, changelog: str, ids: Collection[str]) -> None:
        self._kafka = kafka
        self._open = ExitStack()
        self.profiles = self._open.enter_context(PersonTopic(kafka, PROFILES.name, ids))
        self.states = self._open.enter_context(PersonTopic(kafka, changelog, ids))
        self._left: list[PersonRecord] = []
        self._hasty = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._open.close()

    def remove(self) -> None:
        """Publishes that the person is removed, under each id that has a profile or a state."""
        for topic in self._topics:
            topic.read()
        self._publish_tombstones(self.profiles.alive | self.states.alive)

    def wait_for_workers(self, until_s: float) -> None:
        """Waits until stream workers have dropped the states. What came back by records on their way goes again."""
        pause_s, again_s = AGAIN_S, time.monotonic() + AGAIN_S
        while self.states.read().alive and time.monotonic() < until_s:
            time.sleep(POLL_S)
            if time.monotonic() >= again_s:
                self._publish_tombstones(self.states.alive)
                pause_s *= 2
                again_s = time.monotonic() + pause_s

    def remove_again(self, until_s: float) -> None:
        """Removes what readers that were behind have brought back."""
        if self.profiles.read().alive | self.states.read().alive:
            self.remove()
            self.wait_for_workers(until_s)

    def forget(self, until_s: float) -> None:
        """Makes Kafka compact away what was overwritten, and waits for that."""
        values = [each for topic in self._topics for each in topic.read().values if each.key not in topic.alive]
        if not values:
            compaction.put_back(self._kafka, [topic.topic for topic in self._topics if topic.partitions])
            return
        touched = {(each.topic, each.partition): self._partitions(each.topic) for each in values}
        with compaction.hasty(self._kafka, sorted({topic for topic, _ in touched})) as self._hasty:
            time.sleep(compaction.ROLL_AFTER_S)
            compaction.roll(self._kafka, touched)
            self._left = compaction.wait_until_gone(self._kafka, values, until_s)

    def receipts(self, now: datetime) -> Iterator[PlaceReceipt]:
        """What became of each topic."""
        for topic in self._topics:
            yield self._receipt(topic, now)
            if topic.records:
                yield _tombstone_receipt(topic, now, compaction.live_settings(self._kafka, topic.topic))

    @property
    def waits(self) -> bool:
        """Whether stream workers still have a state of the person, or a profile came back."""
        return any(topic.alive for topic in self._topics)

    @property
    def found(self) -> bool:
        """Whether the person was known here."""
        return any(topic.records for topic in self._topics)

    @property
    def _topics(self) -> tuple[PersonTopic, PersonTopic]:
        return self.profiles, self.states

    def _partitions(self, name: str) -> int:
        return next(topic.partitions for topic in self._topics if topic.topic == name)

    def _publish_tombstones(self, ids: Collection[str]) -> None:
        if ids:
            with Publisher(self._kafka) as publisher:
                for each in sorted(ids):
                    publisher.send(PROFILES.name, each.encode(), None)

    def _receipt(self, topic: PersonTopic, now: datetime) -> PlaceReceipt:
        place, count = f"topic {topic.topic}", len(topic.values)
        if not topic.partitions:
            return PlaceReceipt(place, PlaceEnd.GONE, "there is no such topic", "asked Kafka", now)
        where = ", ".join(map(str, sorted(topic.own_partitions)))
        if topic.alive:
            return PlaceReceipt(place, PlaceEnd.PENDING, "stream workers have not dropped it", f"read: {where}", None)
        left = [each for each in self._left if each.topic == topic.topic]
        checked = f"read partition {where}: {len(left)} values"
        if left:
            by = now + timedelta(milliseconds=_longest_ms(compaction.live_settings(self._kafka, topic.topic)))
            why = "" if self._hasty else "; Kafka does not let this client change the topic's settings"
            return PlaceReceipt(place, PlaceEnd.EXPIRES, f"{count} values overwritten{why}", checked, by)
        done = f"{count} values overwritten and compacted away" if count else "nothing was there"
        return PlaceReceipt(place, PlaceEnd.GONE, done, checked, now)


def _tombstone_receipt(topic: PersonTopic, now: datetime, settings: Mapping[str, str]) -> PlaceReceipt:
    kept = timedelta(milliseconds=int(settings.get("delete.retention.ms", DAY_MS)) + _longest_ms(settings))
    done = "the tombstone has the user id as its key; Kafka takes it away with a later record of the partition"
    return PlaceReceipt(f"topic {topic.topic}, key", PlaceEnd.EXPIRES, done, "Kafka's settings", now + kept)


def _longest_ms(settings: Mapping[str, str]) -> int:
    """How long an overwritten value stays, once a later record has come."""
    return int(settings.get("max.compaction.lag.ms", DAY_MS)) + int(settings.get("segment.ms", HOUR_MS))

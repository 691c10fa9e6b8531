"""What the topics still have of one user: the user's records, and the instants at which others moved the clock."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter

from confluent_kafka import Message

from infra.kafka.topic_reader import partition_count, read_partition
from schemas.codec import DecodeError, decode, partition_for
from schemas.decisions import Decision
from schemas.errors import UserError
from schemas.journal import AppliedRange, Checkpoint
from schemas.topics import DECISIONS, EVENTS, JOURNAL, OUTCOMES, PROFILES
from streams.decisions.replay import Appended

_OF_OTHERS = b""
"""The key of records of other users, of which only the instant counts."""
_TELL_EVERY = 1_000
_INPUTS = (EVENTS.name, PROFILES.name, OUTCOMES.name)


class NoTopics(UserError):
    """There are no topics to read."""


class InputRecords(Mapping[int, Appended]):
    """The records of one partition of an input by offset. Those of other users take 16 bytes each."""

    def __init__(self, user: bytes) -> None:
        self._user = user
        self._offsets, self._appended = array("q"), array("q")
        self._whole: dict[int, Appended] = {}

    def add(self, offset: int, record: Appended) -> None:
        """Adds a record; offsets rise."""
        self._offsets.append(offset)
        self._appended.append(record.appended_ms)
        if record.key in (self._user, None):
            self._whole[offset] = record

    @property
    def own(self) -> int:
        """How many records are the user's, or nobody's."""
        return len(self._whole)

    def before(self, offset: int | None) -> Iterator[tuple[int, int]]:
        """The instant and offset of each record below `offset`, or of all."""
        end = len(self._offsets) if offset is None else bisect_left(self._offsets, offset)
        return zip(self._appended[:end], self._offsets[:end], strict=True)

    def __getitem__(self, offset: int) -> Appended:
        if (found := self._whole.get(offset)) is not None:
            return found
        at = bisect_left(self._offsets, offset)
        if at == len(self._offsets) or self._offsets[at] != offset:
            raise KeyError(offset)
        return Appended(_OF_OTHERS, None, self._appended[at])

    def __iter__(self) -> Iterator[int]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)


@dataclass(slots=True)
class PartitionHistory:
    """One partition as far as it is kept: inputs by topic, the journal in order, and the decisions about the user."""

    user_id: str
    partition: int = 0
    partitions: int = 1
    inputs: dict[str, InputRecords] = field(default_factory=dict)
    journal: list[Checkpoint] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether the journal is kept from its first record on."""
        return bool(self.journal) and self.journal[0].number == 1

    def unjournaled(self) -> Checkpoint | None:
        """What is kept of the inputs from before the journal, in the order of their instants; None without any.

        Records of one instant come in the order events, profiles, outcomes. Without a journal it is all of them.
        """
        if self.whole:
            return None
        firsts: dict[str, int] = {}
        for checkpoint in self.journal:
            for span in checkpoint.applied:
                firsts.setdefault(span.topic, span.first)
        begun_ms = round(self.journal[0].clock.timestamp() * 1000) if self.journal else None
        before = sorted(
            (appended_ms, order, offset)
            for order, (topic, records) in enumerate(self.inputs.items())
            for appended_ms, offset in records.before(firsts.get(topic))
            if topic in firsts or begun_ms is None or appended_ms <= begun_ms  # all later ones are not applied yet
        )
        if not before:
            return None
        names = [*self.inputs]
        spans = [
            AppliedRange(topic=names[order], partition=self.partition, first=offset, last=offset)
            for order, offset in map(itemgetter(1, 2), before)
        ]
        first = self.journal[0] if self.journal else None
        numbers = {"manifest": first.manifest, "control": first.control} if first else {"manifest": 0, "control": 0}
        clock = datetime.fromtimestamp(before[-1][0] / 1000, UTC)
        return Checkpoint(partition=self.partition, number=0, applied=[*_joined(spans)], clock=clock, **numbers)


def _joined(spans: Iterable[AppliedRange]) -> Iterator[AppliedRange]:
    """The spans with neighbours of one topic joined."""
    for _, several in groupby(spans, key=lambda span: span.topic):
        first, *others = several
        yield first.model_copy(update={"last": others[-1].last if others else first.last})


def read_history(kafka: str, user_id: str, progress: Callable[[str, int], None] = lambda *_: None) -> PartitionHistory:
    """Reads the user's partition of each topic; raises NoTopics. `progress` gets the topic and the records read."""
    partitions = partition_count(kafka, EVENTS.name)
    if not partitions:
        raise NoTopics("there is no topic `events`; `ebbtide apply` and `ebbtide run streams` create the topics")
    key = user_id.encode()
    history = PartitionHistory(user_id, partition_for(key, partitions), partitions)
    for message in _told(kafka, JOURNAL.name, history.partition, progress):
        history.journal.append(decode(Checkpoint, message.value()))
    others = {span.topic for checkpoint in history.journal for span in checkpoint.applied} - {*_INPUTS}
    for topic in (*_INPUTS, *sorted(others)):
        records = history.inputs[topic] = InputRecords(key)
        for message in _told(kafka, topic, history.partition, progress):
            records.add(message.offset() or 0, Appended(message.key(), message.value(), message.timestamp()[1]))
    history.decisions = [*_decisions(kafka, history, key)]
    return history


def _told(kafka: str, topic: str, partition: int, progress: Callable[[str, int], None]) -> Iterator[Message]:
    for number, message in enumerate(read_partition(kafka, topic, partition), 1):
        yield message
        if number % _TELL_EVERY == 0:
            progress(topic, number)


def _decisions(kafka: str, history: PartitionHistory, key: bytes) -> Iterator[Decision]:
    for message in read_partition(kafka, DECISIONS.name, history.partition):
        if message.key() == key:
            try:
                yield decode(Decision, message.value())
            except DecodeError:  # another program wrote there; recorders pass it over too
                continue

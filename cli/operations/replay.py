"""Replays dead letters: sends the original key and bytes to their topic, each letter at most once.

A letter that would have no effect or do harm is skipped, with the reason. All rules process a replayed record as any
other: an event id that is still remembered changes nothing, and `max_age` applies.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from cli.operations.dead_letters import REPLAYED, Selection, marks, read_letters
from cli.operations.exclusive_writer import ExclusiveWriter, RecordToWrite
from cli.operations.publish import now
from infra.kafka.topic_reader import read_all
from schemas.codec import DecodeError, decode
from schemas.deadletters import DeadLetter
from schemas.topics import DEAD_LETTERS, USER_KEYED, Topic
from triggers.rules.seen import SEEN_MS

WRITER = "ebbtide-replay"
TOGETHER = 500
"""Records in one transaction: far fewer than its timeout would allow."""
TOPICS = {topic.name: topic for topic in USER_KEYED}


@dataclass(frozen=True, slots=True)
class PlannedReplay:
    """One letter, and why it is skipped; None if it is sent."""

    letter: DeadLetter
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What to replay. `again` includes letters replayed before; `force` those that may have no effect."""

    selection: Selection
    limit: int | None = None
    again: bool = False
    force: bool = False


def plan(kafka: str, request: ReplayRequest) -> list[PlannedReplay]:
    """The selected letters, oldest first, and whether each is sent or skipped."""
    letters = read_letters(kafka, request.selection)
    chosen = sorted(letters.chosen, key=lambda letter: (letter.time, letter.place))
    overwritten = _overwritten(kafka, chosen)
    known = set() if request.again else letters.replayed
    planned, sent = [], set[str]()
    for letter in chosen:
        if letter.place in sent:
            skipped: str | None = "it is the same record as an earlier letter"
        else:
            skipped = _why_not(letter, known, overwritten, request.force)
        if skipped is None:
            if request.limit is not None and len(sent) >= request.limit:
                break
            sent.add(letter.place)
        planned.append(PlannedReplay(letter, skipped))
    return planned


def send(writer: ExclusiveWriter, planned: Sequence[PlannedReplay], progress: Callable[[int], None]) -> int:
    """Sends the letters that are not skipped, each with its mark, in transactions of TOGETHER; raises WriterFenced."""
    letters = [each.letter for each in planned if each.skipped is None]
    for begin in range(0, len(letters), TOGETHER):
        writer.write(entry for letter in letters[begin : begin + TOGETHER] for entry in _entries(letter))
        progress(min(begin + TOGETHER, len(letters)))
    return len(letters)


def _entries(letter: DeadLetter) -> tuple[RecordToWrite, RecordToWrite]:
    key, headers = letter.original_key(), [(REPLAYED, letter.place.encode())]
    return RecordToWrite(letter.topic, key, letter.original_value(), headers), RecordToWrite(
        DEAD_LETTERS.name, key, None, headers
    )


def _why_not(letter: DeadLetter, replayed: set[str], overwritten: set[str], force: bool) -> str | None:
    topic = TOPICS.get(letter.topic)
    if topic is None:
        return "records of its topic cannot be replayed"
    if letter.place in replayed:
        return "it was replayed before; --again sends it once more"
    if letter.place in overwritten:
        return "it would overwrite a newer record of its key"
    if letter.value is None:  # for a profile that would be a tombstone
        return "it has no value to send; publish the record again"
    if force:
        return None
    return _unreadable(letter, topic) or _remembered(letter)


def _unreadable(letter: DeadLetter, topic: Topic) -> str | None:
    """Decodes the record instead of trusting the cause: a newer version may read what an older one refused."""
    try:
        fact = decode(topic.models[0], letter.original_value())
    except DecodeError as error:
        return f"it still cannot be read ({error.cause}); fix it and publish it again"
    user_id: str | None = getattr(fact, "user_id", None)
    if user_id is not None and letter.original_key() != user_id.encode():
        return "its key is not its user_id; fix it and publish it again"
    return None


def _remembered(letter: DeadLetter) -> str | None:
    if not letter.applied:
        return None
    until = letter.time + timedelta(milliseconds=SEEN_MS)
    if until <= now():
        return None
    remembered = f"its id is remembered until {until:%Y-%m-%d %H:%M} UTC or 64 later events of its user"
    return f"all other rules applied it, and {remembered}; --force sends it"


class _Seen(NamedTuple):
    """A record of a compacted topic."""

    appended_ms: int
    place: tuple[int, int]
    replayed: str


def _overwritten(kafka: str, letters: Iterable[DeadLetter]) -> set[str]:
    """The places of letters from compacted topics that are compacted away or whose key has a newer record."""
    found: set[str] = set()
    by_topic: dict[str, list[DeadLetter]] = defaultdict(list)
    for letter in letters:
        if letter.topic in TOPICS and TOPICS[letter.topic].cleanup_policy == "compact":
            by_topic[letter.topic].append(letter)
    for topic, of_topic in by_topic.items():
        history = _history(kafka, topic, {letter.original_key() for letter in of_topic})
        found |= {letter.place for letter in of_topic if _is_old(letter, history[letter.original_key()])}
    return found


def _history(kafka: str, topic: str, keys: set[bytes | None]) -> dict[bytes | None, list[_Seen]]:
    history: dict[bytes | None, list[_Seen]] = defaultdict(list)
    for message in read_all(kafka, topic):
        if (key := message.key()) in keys:
            replayed = next(marks(message.headers()), "")
            place = message.partition() or 0, message.offset() or 0
            history[key].append(_Seen(message.timestamp()[1], place, replayed))
    return history


def _is_old(letter: DeadLetter, history: list[_Seen]) -> bool:
    own = next((seen for seen in history if seen.place == (letter.partition, letter.offset)), None)
    if own is None:
        return True
    others = (seen for seen in history if seen.replayed != letter.place and seen is not own)
    return any(_follows(other, own) for other in others)


def _follows(other: _Seen, own: _Seen) -> bool:
    """Whether `other` is newer. Records of two partitions and one millisecond have no order: it counts as newer."""
    if other.place[0] == own.place[0]:
        return other.place[1] > own.place[1]
    return other.appended_ms >= own.appended_ms

"""Sending dead letters again: the original key and bytes to the topic they came from, each at most once.

What would bring nothing, or harm, is skipped with its reason. A record that was sent again goes through all rules as
any other: an event id that is still remembered changes nothing, and `max_age` holds.
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
from triggers.engine.evaluator import SEEN_MS

WRITER = "ebbtide-replay"
TOGETHER = 500
"""Records of one transaction: far fewer than a transaction's time would allow."""
TOPICS = {topic.name: topic for topic in USER_KEYED}


@dataclass(frozen=True, slots=True)
class PlannedReplay:
    """One letter and why it is not sent again; None where it is."""

    letter: DeadLetter
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What is wanted: at most `limit` records; also those sent `again`; by `force` also what may bring nothing."""

    selection: Selection
    limit: int | None = None
    again: bool = False
    force: bool = False


def plan(kafka: str, wish: ReplayRequest) -> list[PlannedReplay]:
    """Every chosen letter, oldest first, with what is to be done about it."""
    letters = read_letters(kafka, wish.selection)
    chosen = sorted(letters.chosen, key=lambda letter: (letter.time, letter.place))
    overwritten = _overwritten(kafka, chosen)
    known = set() if wish.again else letters.replayed
    planned, sent = [], set[str]()
    for letter in chosen:
        if letter.place in sent:
            skipped: str | None = "it is the same record as an earlier letter"
        else:
            skipped = _why_not(letter, known, overwritten, wish.force)
        if skipped is None:
            if wish.limit is not None and len(sent) >= wish.limit:
                break
            sent.add(letter.place)
        planned.append(PlannedReplay(letter, skipped))
    return planned


def send(writer: ExclusiveWriter, planned: Sequence[PlannedReplay], progress: Callable[[int], None]) -> int:
    """Sends what is not skipped, with its mark, some hundred a transaction; raises WriterFenced."""
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
        return "its topic takes no records from here"
    if letter.place in replayed:
        return "it was sent again before; --again sends it once more"
    if letter.place in overwritten:
        return "a newer record of its key is there, which it would overwrite"
    if letter.value is None:  # of a profile that would be a tombstone
        return "the letter has no value to send; publish it anew"
    if force:
        return None
    return _unreadable(letter, topic) or _remembered(letter)


def _unreadable(letter: DeadLetter, topic: Topic) -> str | None:
    """Asks the model and not the cause: what an older reader refused may be readable by now."""
    try:
        fact = decode(topic.models[0], letter.original_value())
    except DecodeError as error:
        return f"it still cannot be read ({error.cause}); fix it and publish it anew"
    user_id: str | None = getattr(fact, "user_id", None)
    if user_id is not None and letter.original_key() != user_id.encode():
        return "its key is not its user_id; fix it and publish it anew"
    return None


def _remembered(letter: DeadLetter) -> str | None:
    if not letter.applied:
        return None
    until = letter.time + timedelta(milliseconds=SEEN_MS)
    if until <= now():
        return None
    ends = f"{until:%Y-%m-%d %H:%M} UTC"
    return (
        f"all other rules applied it, and its id is remembered until {ends} or 64 later events of its user; or --force"
    )


class _Seen(NamedTuple):
    """A record of a compacted topic."""

    appended_ms: int
    place: tuple[int, int]
    replayed: str


def _overwritten(kafka: str, letters: Iterable[DeadLetter]) -> set[str]:
    """The places of those from compacted topics whose key has a newer record, or that are compacted away themselves."""
    found: set[str] = set()
    by_topic: dict[str, list[DeadLetter]] = defaultdict(list)
    for letter in letters:
        if letter.topic in TOPICS and TOPICS[letter.topic].kept == "compacted":
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
    """Whether it is newer. In two partitions and one millisecond there is no order: it counts as newer."""
    if other.place[0] == own.place[0]:
        return other.place[1] > own.place[1]
    return other.appended_ms >= own.appended_ms

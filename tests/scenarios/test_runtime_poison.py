"""Bad records through the real application: each becomes a dead letter with its cause and place,
or is read for what it is, and the good event behind it in the same partition is decided.
"""

from datetime import UTC, datetime

import orjson
import pytest
from confluent_kafka import Producer
from drivers.running_senders import wait_until
from drivers.whole_pipeline import PARTITIONS, THANKS, pipeline

from infra.kafka.progress import Progress
from infra.kafka.topic_reader import read_all
from schemas.codec import encode, partition_for
from schemas.deadletters import DeadLetter
from schemas.events import Event
from schemas.topics import COMMANDS, DEAD_LETTERS, EVENTS, OUTCOMES, PROFILES
from schemas.vocabulary import DeadLetterCause

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

USER = "u1"
HOME = partition_for(USER.encode(), PARTITIONS)
NOT_JSON, INVALID, RULE_ERROR = DeadLetterCause.NOT_JSON, DeadLetterCause.INVALID, DeadLetterCause.RULE_ERROR
MISROUTED = DeadLetterCause.MISROUTED
MIB = 1024 * 1024
ODD_HEADERS = [("", None), ("twice", b"1"), ("twice", b"\xff\xfe"), ("long", b"x" * 10_000)]


def order(name: str, **properties: object) -> bytes:
    """An event that the rule decides."""
    event = Event(
        id=name,
        type="order_completed",
        user_id=USER,
        time=datetime.now(UTC),
        properties={"order_id": name, "total": 9} | properties,
    )
    return encode(event)


def nested(depth: int) -> bytes:
    """An event with lists in lists."""
    return order("nested").replace(b'"total":9', b'"total":' + b"[" * depth + b"]" * depth)


POISON: dict[str, tuple[bytes | None, bytes | None, DeadLetterCause | None]] = {
    "no key": (None, order("no-key"), MISROUTED),
    "no value": (USER.encode(), None, NOT_JSON),
    "neither": (None, None, NOT_JSON),
    "nothing but bytes": (USER.encode(), b"\x00\xff\xfe", NOT_JSON),
    "a megabyte of rubbish": (USER.encode(), b"x" * (MIB - 80_000), NOT_JSON),
    "a megabyte that is a key": (b"k" * (MIB - 80_000), order("big-key"), MISROUTED),
    "a key that is not text": (b"\xff\xfe\xfd", order("odd-key"), MISROUTED),
    "a key of nothing": (b"", order("empty-key"), MISROUTED),
    "deeper than any reader goes": (USER.encode(), nested(100_000), INVALID),
    "not a number": (USER.encode(), order("nan").replace(b'"total":9', b'"total":NaN'), NOT_JSON),
    "half a character": (USER.encode(), order("half").replace(b'"total":9', b'"total":"\\ud800"'), NOT_JSON),
    "a list": (USER.encode(), b"[1, 2]", INVALID),
    "an id of a megabyte": (USER.encode(), order("x").replace(b'"id":"x"', b'"id":"' + b"x" * 900_000 + b'"'), INVALID),
    "a command of a megabyte": (USER.encode(), order("big", order_id="o" * 950_000), RULE_ERROR),
}
STRANGE = {
    "as deep as the parser goes": nested(900),
    "a number beyond all": order("huge").replace(b'"total":9', b'"total":1' + b"0" * 300),
    "a property of half a megabyte": order("fat", note="n" * MIB),
}
"""Read for what they are: decided if the model takes them, dead letters if it does not."""


def test_poison_becomes_dead_letters_and_the_next_event_is_decided(servers, database_url, tmp_path):
    placed: dict[str, int] = {}

    def send(name: str, key: bytes | None, value: bytes | None, codec: str = "lz4", headers=()) -> None:
        producer = Producer(
            {"bootstrap.servers": servers.kafka, "compression.type": codec, "message.max.bytes": 2 * MIB}
        )

        def written(error, message) -> None:
            assert error is None, (name, error)
            placed[name] = message.offset()

        producer.produce(EVENTS.name, value, key, partition=HOME, headers=list(headers), on_delivery=written)
        assert producer.flush(30) == 0

    with pipeline(servers.kafka, database_url, tmp_path) as run:
        run.apply(THANKS)
        run.publish_users([USER])
        for name, (key, value, _) in POISON.items():
            send(name, key, value)
            send(f"good after {name}", USER.encode(), order(f"good-after-{name}"))
        for name, value in STRANGE.items():
            send(name, USER.encode(), value, "zstd")
            send(f"good after {name}", USER.encode(), order(f"good-after-{name}"))
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            send(codec, USER.encode(), order(f"good-by-{codec}"), codec, ODD_HEADERS)
        run.start_streams()
        with Progress(servers.kafka) as progress:
            inputs = (EVENTS.name, PROFILES.name, OUTCOMES.name)
            wait_decided(run, lambda: progress.lag("ebbtide-streams", inputs) == 0)

        letters = {}
        for message in read_all(servers.kafka, DEAD_LETTERS.name):
            letter = DeadLetter.model_validate_json(message.value())
            letters[letter.offset] = letter
            assert (letter.topic, letter.partition) == (EVENTS.name, HOME)
        for name, (_, _, cause) in POISON.items():
            assert letters[placed[name]].cause == cause, name
        decided = {orjson.loads(m.value())["data"]["order_id"] for m in read_all(servers.kafka, COMMANDS.name)}
        for name in placed:
            if name.startswith("good after"):
                assert name.replace("good after ", "good-after-") in decided
        assert decided >= {f"good-by-{codec}" for codec in ("none", "gzip", "snappy", "lz4", "zstd")}
        strange = {placed[name] for name in STRANGE}
        assert len(letters.keys() & strange) + len(decided & {"nested", "huge", "fat"}) == len(STRANGE)
        assert run.end_streams() == 0


def wait_decided(run, until) -> None:
    """Waits for the worker, with its log if it never comes to it."""
    try:
        wait_until(until, "the worker is at the end")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{(run.directory / 'streams.log').read_text()[-4000:]}") from error

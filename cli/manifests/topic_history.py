"""The topics as a history: what is kept of events, profiles and outcomes, written into files that a backtest reads."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import orjson
from confluent_kafka import Message

from cli.manifests.plan_effect import PastFiles
from infra.kafka.topic_reader import read_all
from schemas.topics import EVENTS, OUTCOMES, PROFILES

_TELL_EVERY = 10_000


def write_history(
    kafka: str, folder: Path, since: datetime, progress: Callable[[str, int], None] = lambda *_: None
) -> PastFiles:
    """Writes events and outcomes that were appended since then, and everybody's newest profile.

    A profile holds for the whole history, because of most users the topic keeps no other. Who was removed has an empty
    one, which consents to nothing. Messages call the files by their topics.
    """
    since_ms = round(since.timestamp() * 1000)
    for topic, begin_ms in ((EVENTS.name, since_ms), (PROFILES.name, None), (OUTCOMES.name, since_ms)):
        with (folder / f"{topic}.jsonl").open("wb") as file:
            for number, message in enumerate(read_all(kafka, topic, begin_ms), 1):
                file.write(_line(message) + b"\n")
                if number % _TELL_EVERY == 0:
                    progress(topic, number)
    events, profiles, outcomes = (folder / f"{topic.name}.jsonl" for topic in (EVENTS, PROFILES, OUTCOMES))
    names = {file: f"topic {file.stem}" for file in (events, profiles, outcomes)}
    return PastFiles(events, profiles, outcomes if outcomes.stat().st_size else None, names)


def _line(message: Message) -> bytes:
    """The record on one line; what is no JSON stays what it is, and the backtest counts it."""
    value = message.value()
    if value is None:
        return orjson.dumps({"user_id": (message.key() or b"").decode(errors="replace")})
    return b" ".join(value.splitlines())

"""Says until when the records of a person stay on topics that Kafka shortens by time."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from cli.privacy import compaction, topic_records
from cli.privacy.receipt import PlaceEnd, PlaceReceipt
from cli.step_printer import ProgressStep
from schemas.topics import BROADCASTS, COMMANDS, DAY_MS, DEAD_LETTERS, DECISIONS, EVENTS, OUTCOMES

_WEEK_MS = 7 * DAY_MS


def receipts(kafka: str, ids: Collection[str], now: datetime, step: ProgressStep) -> Iterator[PlaceReceipt]:
    """Each topic, by reading the records of the person in it."""
    told = lambda number: step.at(number, f"{number:,} records read")  # noqa: E731  # both readers take it
    for topic in (EVENTS, COMMANDS, DECISIONS, OUTCOMES):
        found = [record.appended_at for record in topic_records.records_of(kafka, topic.name, ids, told)]
        yield _receipt(kafka, topic.name, found, now)
    found = [record.appended_at for record in topic_records.broadcasts_of(kafka, set(ids), told)]
    yield _receipt(kafka, BROADCASTS.name, found, now)
    letters = [letter.time for letter in topic_records.dead_letters_of(kafka, set(ids), told)]
    yield _receipt(kafka, DEAD_LETTERS.name, letters, now)


def _receipt(kafka: str, topic: str, found: Collection[datetime], now: datetime) -> PlaceReceipt:
    checked = f"read: {len(found)} records"
    if not found:
        return PlaceReceipt(f"topic {topic}", PlaceEnd.GONE, "nothing was there", checked, now)
    settings = compaction.live_settings(kafka, topic)
    kept_ms = int(settings["retention.ms"]) + int(settings.get("segment.ms", _WEEK_MS))
    by = max(found) + timedelta(milliseconds=kept_ms)
    return PlaceReceipt(f"topic {topic}", PlaceEnd.EXPIRES, "Kafka deletes it by retention", checked, by)

"""The inputs of the stream worker, and the partition count that they must share."""

from confluent_kafka.admin import AdminClient

from schemas.topics import EVENTS, OUTCOMES, PROFILES
from streams.broker import Connection

INPUTS = (PROFILES, OUTCOMES, EVENTS)
"""In the order in which records of one append time are applied: what is known of a user before what they do."""


class TopicsMissing(RuntimeError):
    """The topics are not there, or disagree on their partition count."""


def user_partitions(connection: Connection) -> int:
    """The partition count that the inputs share; raises TopicsMissing where they do not."""
    topics = AdminClient(connection.client()).list_topics(timeout=30).topics
    counts = {t.name: len(topics[t.name].partitions) if t.name in topics else 0 for t in INPUTS}
    if 0 in counts.values():
        absent = ", ".join(name for name, count in counts.items() if not count)
        raise TopicsMissing(f"no topic {absent}; run `ebbtide topics` first")
    if len(set(counts.values())) > 1:
        raise TopicsMissing(f"inputs disagree on their partition count {counts}; recreate them with one count")
    return counts[EVENTS.name]

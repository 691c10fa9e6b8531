"""The topics that a stream worker uses, and the partition count that they must share."""

from infra.kafka.connection import Connection, connect_admin
from infra.kafka.partition_counts import shared_partition_count
from schemas.topics import (
    BROADCASTS,
    COMMANDS,
    CONTROL,
    DEAD_LETTERS,
    DECISIONS,
    EVENTS,
    JOURNAL,
    OUTCOMES,
    PROFILES,
    RULES,
)

INPUTS = (PROFILES, OUTCOMES, EVENTS, BROADCASTS)
"""In the order in which records with equal append times are applied: what is known of a user before what they do, and
what they do before what meets those who wait."""
OUTPUTS = (COMMANDS, DECISIONS, JOURNAL, DEAD_LETTERS)
"""Written to the partition number of the record that caused them. Broadcasts are written too, to every partition."""
OTHER_TOPICS = (RULES, CONTROL)
CONNECT_S = 30.0


def user_partitions(connection: Connection) -> int:
    """The partition count that inputs and outputs share.

    Raises TopicsMissing if they have different counts or a topic does not exist, and AccessDenied if the broker rejects
    the worker.
    """
    together = [topic.name for topic in (*INPUTS, *OUTPUTS)]
    return shared_partition_count(
        connect_admin(connection, CONNECT_S), together, [topic.name for topic in OTHER_TOPICS]
    )

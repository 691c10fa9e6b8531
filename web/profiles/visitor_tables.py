"""The statements that credit the events of visitors to users, each with its parameters, for both kinds of connection.

Who links a visitor, and who keeps an event of that visitor, hold a lock on a share of all visitors until they commit:
the one exclusively, the other with its like. So each event is either kept before the link, which then forwards it, or
read after the link, and forwarded then.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import NamedTuple

from infra.postgres.columns import RowArrays, array_literal, statement
from web.profiles.forwarding import ForwardedEvent
from web.profiles.tables import Statement

SHARES = 256
"""A transaction takes at most so many locks, of which PostgreSQL has a few thousand."""
_LOCK_CLASS = 7_306_120
MOST_ALIASES = 8
"""How many links are followed from a visitor, from alias to alias."""


class VisitorEvent(NamedTuple):
    """A row of `visitor_events`."""

    anonymous_id: str
    appended_us: int
    partition: int
    offset: int
    event: bytes


_FORWARDED: RowArrays[ForwardedEvent] = RowArrays(
    user_id=("text", lambda row: row.user_id),
    event=("bytea", lambda row: row.event),
    anonymous_id=("text", lambda row: row.anonymous_id),
)
_FORWARD = statement(
    "INSERT INTO web_outbox (user_id, event, anonymous_id) SELECT * FROM {rows}", rows=_FORWARDED.unnest("f")
)


def hold(visitors: Collection[str], *, alone: bool) -> Statement:
    """Holds the shares of these visitors until the transaction ends: `alone`, or with others who keep events."""
    function = b"pg_advisory_xact_lock" if alone else b"pg_advisory_xact_lock_shared"
    shares = sorted({_share_of(visitor) for visitor in visitors})
    return Statement(
        b"SELECT count(%s(%d, share)) FROM (SELECT * FROM unnest(%%(shares)s::int[]) AS s (share) ORDER BY share) AS s"
        % (function, _LOCK_CLASS),
        {"shares": shares},
    )


def users_of(visitors: Collection[str]) -> Statement:
    """Returns visitor and user of those that are linked: the end of the chain of links, which has no loop.

    After the first link only those of server keys are followed: with a browser key, which is public, who knows a user's
    id may link it to another user.
    """
    return Statement(
        b"""WITH RECURSIVE chain (visitor, path) AS (
                SELECT v, ARRAY[v] FROM unnest(%(visitors)s::text[]) AS v
                UNION ALL
                SELECT c.visitor, c.path || l.user_id FROM chain AS c
                JOIN identity_links AS l ON l.anonymous_id = c.path[cardinality(c.path)]
                WHERE l.user_id <> ALL (c.path) AND cardinality(c.path) <= %(most)s
                    AND (l.by_server OR cardinality(c.path) = 1)
            ) SELECT DISTINCT ON (visitor) visitor, path[cardinality(path)] FROM chain WHERE cardinality(path) > 1
            ORDER BY visitor, cardinality(path) DESC""",
        {"visitors": array_literal("text", visitors), "most": MOST_ALIASES},
    )


def unlinked(visitors: Collection[str], window: timedelta, most: int) -> Statement:
    """Returns those of the visitors that have no link, each with the bytes of the events that are kept of it."""
    return Statement(
        b"""SELECT v, (SELECT coalesce(sum(octet_length(event)), 0) FROM (SELECT event FROM visitor_events
                       WHERE anonymous_id = v AND appended_at > now() - %(window)s LIMIT %(most)s) AS e)
            FROM unnest(%(visitors)s::text[]) AS v
            WHERE NOT EXISTS (SELECT FROM identity_links WHERE anonymous_id = v)""",
        {"visitors": array_literal("text", visitors), "window": window, "most": most},
    )


def kept_counts(visitors: Collection[str], window: timedelta, most: int) -> Statement:
    """Returns visitor and number of the events kept of each; no number is above `most`."""
    return Statement(
        b"""SELECT v, (SELECT count(*) FROM (SELECT FROM visitor_events
                       WHERE anonymous_id = v AND appended_at > now() - %(window)s LIMIT %(most)s) AS e)
            FROM unnest(%(visitors)s::text[]) AS v""",
        {"visitors": array_literal("text", visitors), "window": window, "most": most},
    )


def keep(events: Sequence[VisitorEvent]) -> Statement:
    """Keeps events."""
    return Statement(
        b"""INSERT INTO visitor_events (anonymous_id, appended_at, partition, record_offset, event)
            SELECT visitor, timestamptz 'epoch' + appended_us * interval '1 microsecond', number, place, event
            FROM unnest(%(visitors)s::text[], %(times)s::bigint[], %(partitions)s::int[], %(offsets)s::bigint[],
                        %(events)s::bytea[]) AS e (visitor, appended_us, number, place, event)""",
        {
            "visitors": array_literal("text", [each.anonymous_id for each in events]),
            "times": [each.appended_us for each in events],
            "partitions": [each.partition for each in events],
            "offsets": [each.offset for each in events],
            "events": array_literal("bytea", [each.event for each in events]),
        },
    )


def kept_of(visitors: Collection[str], window: timedelta, most: int) -> Statement:
    """Returns visitor and event of what is kept, for each visitor in the order of the topic."""
    return Statement(
        b"""SELECT v, event FROM unnest(%(visitors)s::text[]) AS v CROSS JOIN LATERAL (
                SELECT appended_at, partition, record_offset, event FROM visitor_events
                WHERE anonymous_id = v AND appended_at > now() - %(window)s
                ORDER BY appended_at, partition, record_offset LIMIT %(most)s
            ) AS e ORDER BY v, appended_at, partition, record_offset""",
        {"visitors": array_literal("text", visitors), "window": window, "most": most},
    )


def forward(events: Sequence[ForwardedEvent]) -> Statement:
    """Puts events for users into the outbox, in this order."""
    return Statement(_FORWARD, _FORWARDED.parameters(events))


def drop(window: timedelta) -> Statement:
    """Drops what is too old to be credited to anybody."""
    return Statement(b"SELECT drop_visitor_events(%(window)s)", {"window": window})


def _share_of(visitor: str) -> int:
    return int.from_bytes(blake2b(visitor.encode(), digest_size=2).digest()) % SHARES

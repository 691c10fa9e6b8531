"""The statements on the tables of profiles and identity links, each with its parameters, for both kinds of connection.

Rows of several users are held in the order of their keys. All rows of a transaction are made before one is held, so
transactions wait for each other in one direction only.
"""

from collections.abc import Collection, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from infra.postgres.columns import array_literal
from web.profiles.patches import IdentityLink
from web.profiles.profile_state import NOTHING, encode

_NOTHING = encode(NOTHING)


class Statement(NamedTuple):
    """A statement and its parameters, for `execute(*statement)`."""

    query: bytes
    parameters: Mapping[str, Any]


def add(users: Collection[str]) -> Statement:
    """Makes the rows of users who have none."""
    return Statement(
        b"""INSERT INTO profiles (user_id, version, state)
            SELECT user_id, 0, %(nothing)s::json FROM unnest(%(users)s::text[]) AS u (user_id)
            ORDER BY user_id COLLATE "C" ON CONFLICT (user_id) DO NOTHING""",
        {"users": array_literal("text", users), "nothing": _NOTHING},
    )


def hold(users: Collection[str]) -> Statement:
    """Returns user and state of the rows, and holds them until the transaction ends."""
    return Statement(
        b"""SELECT user_id, state::text FROM profiles WHERE user_id = ANY(%(users)s::text[])
            ORDER BY user_id COLLATE "C" FOR UPDATE""",
        {"users": array_literal("text", users)},
    )


def change(states: Mapping[str, str]) -> Statement:
    """Writes the states of users whose rows are held."""
    return Statement(
        b"""UPDATE profiles AS p SET version = nextval('profile_versions'), state = n.state::json
            FROM unnest(%(users)s::text[], %(states)s::text[]) AS n (user_id, state) WHERE p.user_id = n.user_id""",
        {"users": array_literal("text", states), "states": array_literal("text", states.values())},
    )


def unlink(users: Collection[str]) -> Statement:
    """Removes the links to users, and what is kept of their visitors: another link must not forward it again."""
    return Statement(
        b"""WITH gone AS (DELETE FROM identity_links WHERE user_id = ANY(%(users)s::text[]) RETURNING anonymous_id)
            DELETE FROM visitor_events WHERE anonymous_id IN (SELECT anonymous_id FROM gone)""",
        {"users": array_literal("text", users)},
    )


def remove(users: Collection[str]) -> Statement:
    """Removes users, whose rows are held."""
    return Statement(
        b"DELETE FROM profiles WHERE user_id = ANY(%(users)s::text[])", {"users": array_literal("text", users)}
    )


def announce(users: Collection[str], *, bulk: bool = False) -> Statement:
    """Puts the profiles of users into the outbox; those of a `bulk` wait for all others."""
    return Statement(
        b"INSERT INTO web_outbox (user_id, bulk) SELECT u, %(bulk)s FROM unnest(%(users)s::text[]) AS u",
        {"users": array_literal("text", users), "bulk": bulk},
    )


def versions(users: Collection[str]) -> Statement:
    """Returns user and version of the rows."""
    return Statement(
        b"SELECT user_id, version FROM profiles WHERE user_id = ANY(%(users)s::text[])",
        {"users": array_literal("text", users)},
    )


def link(links: Collection[IdentityLink]) -> Statement:
    """Writes links; of a visitor the last one by time counts, and those of server keys before all others.

    Returns visitor and whether it is the first link.
    """
    last = {each.anonymous_id: each for each in sorted(links, key=attrgetter("by_server", "time_us", "user_id"))}
    return Statement(
        b"""INSERT INTO identity_links AS known (anonymous_id, user_id, time_us, by_server)
            SELECT * FROM unnest(%(visitors)s::text[], %(users)s::text[], %(times)s::bigint[], %(by_server)s::bool[])
                AS l (visitor, u, at, by_server)
            ORDER BY visitor COLLATE "C"
            ON CONFLICT (anonymous_id) DO UPDATE
                SET user_id = EXCLUDED.user_id, time_us = EXCLUDED.time_us, by_server = EXCLUDED.by_server
                WHERE (known.by_server, known.time_us, known.user_id)
                    < (EXCLUDED.by_server, EXCLUDED.time_us, EXCLUDED.user_id)
            RETURNING anonymous_id, xmax = 0""",
        {
            "visitors": array_literal("text", last),
            "users": array_literal("text", [each.user_id for each in last.values()]),
            "times": [each.time_us for each in last.values()],
            "by_server": [each.by_server for each in last.values()],
        },
    )


def state_of_user(user_id: str) -> Statement:
    """Returns the state of a user."""
    return Statement(b"SELECT state::text FROM profiles WHERE user_id = %(user)s AND version > 0", {"user": user_id})


def states_of_users(users: Collection[str]) -> Statement:
    """Returns user and state of the rows, without holding them."""
    return Statement(
        b"SELECT user_id, state::text FROM profiles WHERE user_id = ANY(%(users)s::text[])",
        {"users": array_literal("text", users)},
    )


def visitors_of(user_id: str, most: int) -> Statement:
    """Returns the newest anonymous ids that are linked to a user."""
    return Statement(
        b"SELECT anonymous_id FROM identity_links WHERE user_id = %(user)s ORDER BY time_us DESC LIMIT %(most)s",
        {"user": user_id, "most": most},
    )

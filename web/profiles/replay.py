"""Links visitors to users, and replays to a user, once, what the visitor did shortly before the link."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from psycopg import AsyncConnection

from web.profiles import tables, visitor_tables
from web.profiles.forwarding import forwarded
from web.profiles.patches import IdentityLink

REPLAY_BYTES = 1_000_000
"""The most bytes of kept events that one transaction forwards, unless one visitor alone has more. It holds the locks of
its visitors, and the event loop, for some 10 ms."""
LINKS_AT_ONCE = 20
_PIECE = 50
"""Events that are forwarded by one statement. Between two of them the event loop does other work."""


@dataclass(frozen=True, slots=True)
class ReplayRules:
    """For how long, and how many, events of a visitor are kept until the user is known."""

    window: timedelta = timedelta(minutes=30)
    most: int = 200


async def write_links(
    connection: AsyncConnection[Any], links: Sequence[IdentityLink], rules: ReplayRules
) -> list[IdentityLink]:
    """Write links. Events that are kept of a visitor without a link so far are forwarded.

    Returns links that are not written, because there is too much to forward for one transaction.
    """
    visitors = {link.anonymous_id for link in links}
    cursor = await connection.execute(*visitor_tables.unlinked(sorted(visitors), rules.window, rules.most))
    kept = dict(await cursor.fetchall())
    later = _beyond(kept)
    if kept.keys() - later:
        await connection.execute(*visitor_tables.hold(kept.keys() - later, alone=True))
    cursor = await connection.execute(*tables.link([link for link in links if link.anonymous_id not in later]))
    first = [visitor async for visitor, is_first in cursor if is_first]
    if first:
        await _replay(connection, first, rules)
    return [link for link in links if link.anonymous_id in later]


async def write_later(
    run: Callable[[Callable[[AsyncConnection[Any]], Awaitable[list[IdentityLink]]]], Awaitable[list[IdentityLink]]],
    links: Sequence[IdentityLink],
    rules: ReplayRules,
) -> None:
    """Write what `write_links` left, by as many transactions as it takes; `run` does one."""
    waiting = list(links)
    while waiting:
        now, rest = waiting[:LINKS_AT_ONCE], waiting[LINKS_AT_ONCE:]
        waiting = await run(partial(write_links, links=now, rules=rules)) + rest


def _beyond(kept: Mapping[str, int]) -> set[str]:
    """The visitors whose events are too many bytes together with those of the visitors before them."""
    beyond, total = set(), 0
    for visitor, size in kept.items():
        if total and size and total + size > REPLAY_BYTES:
            beyond.add(visitor)
        else:
            total += size
    return beyond


async def _replay(connection: AsyncConnection[Any], visitors: Sequence[str], rules: ReplayRules) -> None:
    cursor = await connection.execute(*visitor_tables.kept_of(visitors, rules.window, rules.most))
    events = await cursor.fetchall()
    if not events:
        return
    cursor = await connection.execute(*visitor_tables.users_of(sorted({visitor for visitor, _ in events})))
    users = dict(await cursor.fetchall())
    events = [(visitor, event) for visitor, event in events if visitor in users]
    for start in range(0, len(events), _PIECE):
        piece = [forwarded(visitor, users[visitor], event) for visitor, event in events[start : start + _PIECE]]
        await connection.execute(*visitor_tables.forward(piece))

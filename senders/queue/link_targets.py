"""Where the links of mails lead: the table `links`, which the redirect of clicks reads.

A link is stored before `started`, so that no mail leaves with a link that nobody knows. Most mails of a template have
the same links, and those that this process stored are not stored again for some hours. Then they are, so that
`stored_at` tells, to two days, when a mail last had the link. Links that no mail has had for long are removed.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from infra.postgres.columns import RowArrays, statement

KNOWN = 50_000
"""How many links a process remembers."""
FRESH_S = 6 * 3600.0
"""How long a process remembers them."""

_LINKS = RowArrays[tuple[bytes, str]](
    id=("bytea", lambda link: link[0]),
    url=("text", lambda link: link[1]),
)
_STORE = statement(
    """INSERT INTO links AS known (id, url)
       SELECT id, url FROM {new}
       WHERE NOT EXISTS (SELECT FROM links AS l WHERE l.id = new.id AND l.id = ANY(%(id)s::bytea[])
                         AND now() - l.stored_at < interval '1 day')
       ORDER BY id
       ON CONFLICT (id) DO UPDATE SET stored_at = excluded.stored_at
           WHERE known.stored_at < excluded.stored_at - interval '1 day'""",
    new=_LINKS.unnest("new"),
)
"""Written so that no index but that of ids serves it, whatever was there when it was planned.
In the order of ids, so that two transactions that store the same links do not wait for each other crosswise. One
that is removed meanwhile is waited for, and stored anew."""
_REMOVE = """DELETE FROM links WHERE id = ANY(ARRAY(
    SELECT id FROM links WHERE stored_at < now() - %s::interval ORDER BY stored_at LIMIT %s FOR UPDATE SKIP LOCKED))"""


class KnownLinks:
    """The links that are stored for sure, the oldest forgotten first."""

    def __init__(self, most: int = KNOWN) -> None:
        self._known: dict[bytes, None] = {}
        self._most = most
        self._fresh_until_s = 0.0

    def forget_old(self, now_s: float) -> None:
        """Forget all once FRESH_S have passed, so that links in use are stored again. Seconds of the loop's clock."""
        if now_s >= self._fresh_until_s:
            self._known.clear()
            self._fresh_until_s = now_s + FRESH_S

    def missing(self, mails: Iterable[Mapping[bytes, str]]) -> dict[bytes, str]:
        """The links of these mails that are not known."""
        return {id_: url for links in mails for id_, url in links.items() if id_ not in self._known}

    def add(self, ids: Iterable[bytes]) -> None:
        """These links are stored."""
        for id_ in ids:
            self._known[id_] = None
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]


async def store(connection: AsyncConnection[Any], links: Mapping[bytes, str]) -> None:
    """Store these links. Of those that are stored already, note that they are in use."""
    await connection.execute(_STORE, _LINKS.parameters(list(links.items())))


async def remove_unused(connection: AsyncConnection[Any], kept: timedelta, most: int) -> int:
    """Remove links that no mail has had for so long, the oldest first. Returns how many."""
    return (await connection.execute(_REMOVE, [kept, most])).rowcount

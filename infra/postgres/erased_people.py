"""Reads the table of people who were erased: whether the key fits, who of some users was erased, and all their hashes.

`web.profiles.erasures` writes it. Delivery and web read it, each in its own transactions and in its own memory.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import AsyncConnection, Connection

from schemas.errors import UserError
from schemas.people import PersonHasher, is_nobody

OTHER_KEYS = "SELECT EXISTS (SELECT FROM erasures WHERE key_id <> %s)"
AMONG = "SELECT user_hash FROM erasures WHERE user_hash = ANY(%s::bytea[])"
ALL = "SELECT user_hash FROM erasures"
SUMMARY = "SELECT count(*), max(erased_at) FROM erasures"
"""Changes with each erasure, and with each end of one."""


class OtherErasureKey(UserError):
    """People were erased under another key, so that they cannot be recognised here."""

    def __init__(self) -> None:
        super().__init__(
            "people were erased under another key, and would be known again: "
            "set EBBTIDE_ERASURE_KEY as it was for `ebbtide privacy erase`"
        )


class ErasedHashes(NamedTuple):
    """All hashes, and the summary of the table as of which they are."""

    hashes: frozenset[bytes] = frozenset()
    summary: tuple[int, datetime | None] = (0, None)

    def has(self, hasher: PersonHasher, user_id: str) -> bool:
        """Whether this is an erased person, or nobody."""
        return is_nobody(user_id) or (bool(self.hashes) and hasher(user_id) in self.hashes)


def require_key(connection: Connection[Any], hasher: PersonHasher) -> None:
    """Raises OtherErasureKey if people were erased under another key."""
    [[others]] = connection.execute(OTHER_KEYS, [hasher.key_id]).fetchall()
    if others:
        raise OtherErasureKey


def erased_among(connection: Connection[Any], hasher: PersonHasher, users: Collection[str]) -> frozenset[str]:
    """Those of the users who were erased, or are nobody."""
    hashes = hashes_of(hasher, users)
    rows = connection.execute(AMONG, [list(hashes)]).fetchall()
    return frozenset(hashes[bytes(found)] for (found,) in rows) | nobodies(users)


def hashes_of(hasher: PersonHasher, users: Collection[str]) -> dict[bytes, str]:
    """The users by their hashes."""
    return {hasher(user_id): user_id for user_id in users}


def nobodies(users: Collection[str]) -> frozenset[str]:
    """Those who are nobody."""
    return frozenset(filter(is_nobody, users))


def read_hashes(connection: Connection[Any], known: ErasedHashes) -> ErasedHashes:
    """All hashes; the known ones if the table has not changed since."""
    [summary] = connection.execute(SUMMARY).fetchall()
    if summary == known.summary:
        return known
    return ErasedHashes(frozenset(bytes(each) for (each,) in connection.execute(ALL)), summary)


async def read_hashes_async(
    connection: AsyncConnection[Any], known: ErasedHashes, hasher: PersonHasher
) -> ErasedHashes:
    """The same, of the event loop. Raises OtherErasureKey."""
    [summary] = await (await connection.execute(SUMMARY)).fetchall()
    if summary == known.summary:
        return known
    [[others]] = await (await connection.execute(OTHER_KEYS, [hasher.key_id])).fetchall()
    if others:
        raise OtherErasureKey
    return ErasedHashes(frozenset([bytes(each) async for (each,) in await connection.execute(ALL)]), summary)

"""Reads the recipients view: addresses, consent, suppressions, and how fresh they are.

`senders.policy.recipients_feed` writes it. Its tables are `recipients`, `removed_users`, `suppressions` and
`recipients_progress`; and `erasures`, which web writes.
"""

import hmac
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import class_row

from infra.postgres.columns import array_literal, fields_of, statement
from schemas.addresses import address_key, plain_address
from schemas.people import NO_KEY, PersonHasher
from schemas.topics import OUTCOMES, PROFILES
from senders.content.recipient import Recipient
from senders.policy import erasures
from senders.policy.pipeline import DeliveryRequest
from senders.policy.switches import DeliverySwitches
from senders.queue.ledger import DueCommand

FEEDS = (PROFILES.name, OUTCOMES.name)
"""The topics that the view is made from. A partition is as fresh as the older of the two."""


FOREVER = datetime.max.replace(tzinfo=UTC)
"""Until when commands of erased people end."""
_RECIPIENTS = statement("SELECT {row} FROM recipients WHERE user_id = ANY(%s::text[])", row=fields_of(Recipient))


@dataclass(frozen=True, slots=True)
class AddressHasher:
    """Turns an address into the key of its suppressions: HMAC-SHA256 of its canonical form."""

    secret: bytes = field(repr=False)
    people: PersonHasher = NO_KEY
    """Recognises people who were erased."""

    def __call__(self, address: str) -> bytes:
        """The hash is the same for upper and lower case, U-labels and A-labels. Without the secret it tells nothing."""
        return _hashed(self.secret, address)


@lru_cache(maxsize=4096)
def _hashed(secret: bytes, address: str) -> bytes:
    """Kept for a while: a mail asks three times for the hash of its address, within seconds."""
    return hmac.digest(secret, address_key(address).encode(), "sha256")


async def read_requests(
    connection: AsyncConnection[Any],
    commands: Sequence[DueCommand],
    hasher: AddressHasher,
    now: datetime,
    stale_after: timedelta,
    switches: DeliverySwitches,
) -> list[DeliveryRequest]:
    """What policy asks about each due command, in the same order, by six queries: five at once if pipelined."""
    users = {due.command.user_id for due in commands}
    asked, removed_asked = await _ask_recipients(connection, users), await _ask_removed(connection, users)
    fresh_asked = await _ask_known_as_of(connection, {due.partition for due in commands})
    erased_asked = await erasures.ask_erased(connection, hasher.people, users)
    time_asked = await connection.execute("SELECT clock_timestamp()")
    recipients = {found.user_id: replace(found, address=_plain(found.address)) async for found in asked}
    removed = {user_id: at async for user_id, at in removed_asked}
    removed |= dict.fromkeys(await erased_asked.users(), FOREVER)
    fresh = {partition: as_of async for partition, as_of in fresh_asked}
    [[database_time]] = await time_asked.fetchall()
    clock_ahead = now - database_time
    hashes = {
        due.command.id: hasher(address)
        for due in commands
        if (address := _address(due, recipients.get(due.command.user_id)))
    }
    scopes = await _suppressed(connection, set(hashes.values()))
    return [
        DeliveryRequest(
            command=due.command,
            now=now,
            admitted_at=due.admitted_at,
            recipient=recipients.get(due.command.user_id),
            suppressed_scopes=frozenset(scopes.get(hashes.get(due.command.id, b""), ())),
            view_as_of=fresh.get(due.partition),
            stale_after=stale_after,
            switches=switches,
            clock_ahead=clock_ahead,
            removed_at=removed.get(due.command.user_id),
        )
        for due in commands
    ]


def _address(due: DueCommand, recipient: Recipient | None) -> str | None:
    return due.command.to or (recipient.address if recipient else None)


async def _ask_recipients(connection: AsyncConnection[Any], users: Iterable[str]) -> AsyncCursor[Recipient]:
    cursor = connection.cursor(row_factory=class_row(Recipient))
    return await cursor.execute(_RECIPIENTS, [array_literal("text", users)])


async def _ask_removed(connection: AsyncConnection[Any], users: Iterable[str]) -> AsyncCursor[tuple[Any, ...]]:
    query = "SELECT user_id, removed_at FROM removed_users WHERE user_id = ANY(%s::text[])"
    return await connection.execute(query, [array_literal("text", users)])


def _plain(address: str | None) -> str | None:
    """The address with its domain in ASCII, which older rows do not have. One that cannot be converted is kept."""
    with suppress(ValueError):
        return address and plain_address(address)
    return address


async def known_as_of(connection: AsyncConnection[Any], partitions: Iterable[int]) -> dict[int, datetime]:
    """As of when each partition is known. Leaves out a partition if one of its topics was never read to an end."""
    return {partition: as_of async for partition, as_of in await _ask_known_as_of(connection, partitions)}


async def _ask_known_as_of(connection: AsyncConnection[Any], partitions: Iterable[int]) -> AsyncCursor[Any]:
    return await connection.execute(
        """SELECT partition, min(as_of) FROM recipients_progress
           WHERE partition = ANY(%s) AND topic = ANY(%s) GROUP BY partition HAVING count(*) = %s""",
        [list(partitions), list(FEEDS), len(FEEDS)],
    )


async def _suppressed(connection: AsyncConnection[Any], hashes: Iterable[bytes]) -> dict[bytes, set[str]]:
    cursor = await connection.execute(
        """SELECT address_hash, scope FROM suppressions
           WHERE address_hash = ANY(%s::bytea[]) AND (expires_at IS NULL OR expires_at > now())""",
        [array_literal("bytea", hashes)],
    )
    scopes: dict[bytes, set[str]] = {}
    async for address_hash, scope in cursor:
        scopes.setdefault(bytes(address_hash), set()).add(scope)
    return scopes

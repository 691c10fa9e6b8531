"""The recipients view as delivery reads it: addresses, consent, suppressions, and how fresh they are.

`senders.policy.recipients_feed` keeps it; the tables are `recipients`, `suppressions` and `recipients_progress`.
"""

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from schemas.addresses import address_key, plain_address
from schemas.topics import OUTCOMES, PROFILES
from senders.content.recipient import Recipient
from senders.policy.pipeline import DeliveryRequest
from senders.queue.ledger import Due

FEEDS = (PROFILES.name, OUTCOMES.name)
"""The topics that the view follows. A partition is as fresh as the older of the two."""


@dataclass(frozen=True, slots=True)
class AddressHasher:
    """Turns an address into the key of its suppressions: HMAC-SHA256 of the one form of all its spellings."""

    secret: bytes

    def __call__(self, address: str) -> bytes:
        """The same for upper and lower request, U-labels and A-labels; nothing about the address without the secret."""
        return hmac.new(self.secret, address_key(address).encode(), hashlib.sha256).digest()


async def read_requests(
    connection: AsyncConnection[Any],
    dues: Sequence[Due],
    hasher: AddressHasher,
    now: datetime,
    stale_after: timedelta,
) -> list[DeliveryRequest]:
    """What is known of each due command, in the same order, read in one snapshot's worth of three queries."""
    recipients = await _recipients(connection, {due.command.user_id for due in dues})
    fresh = await known_as_of(connection, {due.partition for due in dues})
    hashes = {
        due.command.id: hasher(address)
        for due in dues
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
        )
        for due in dues
    ]


def _address(due: Due, recipient: Recipient | None) -> str | None:
    return due.command.to or (recipient.address if recipient else None)


async def _recipients(connection: AsyncConnection[Any], users: Iterable[str]) -> dict[str, Recipient]:
    cursor = await connection.execute(
        "SELECT user_id, address, zone, locale, attributes, consent FROM recipients WHERE user_id = ANY(%s)",
        [list(users)],
    )
    return {user_id: Recipient(user_id, _plain(address), *rest) async for user_id, address, *rest in cursor}


def _plain(address: str | None) -> str | None:
    """The address with its domain in ASCII, also where it was kept before domains were. What cannot be, stays."""
    with suppress(ValueError):
        return address and plain_address(address)
    return address


async def known_as_of(connection: AsyncConnection[Any], partitions: Iterable[int]) -> dict[int, datetime]:
    """Up to when each partition is known; a partition that one of the feeds never reached is left out."""
    cursor = await connection.execute(
        """SELECT partition, min(as_of) FROM recipients_progress
           WHERE partition = ANY(%s) AND topic = ANY(%s) GROUP BY partition HAVING count(*) = %s""",
        [list(partitions), list(FEEDS), len(FEEDS)],
    )
    return {partition: as_of async for partition, as_of in cursor}


async def _suppressed(connection: AsyncConnection[Any], hashes: Iterable[bytes]) -> dict[bytes, set[str]]:
    cursor = await connection.execute(
        "SELECT address_hash, scope FROM suppressions WHERE address_hash = ANY(%s)", [list(hashes)]
    )
    scopes: dict[bytes, set[str]] = {}
    async for address_hash, scope in cursor:
        scopes.setdefault(bytes(address_hash), set()).add(scope)
    return scopes

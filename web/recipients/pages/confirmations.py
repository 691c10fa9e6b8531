"""What a recipient must confirm by a mail before it counts: a subscription again, or another address.

Who was forwarded a mail can follow its links too. So what would send more mail, or send it elsewhere, counts only after
a click in a new mail to the present address; and a new address only after one in a mail to itself, which the first
click sends.


Each counts only while the user has the address that they had when asking: who still reads a mailbox that the user left
must not steer their mails.

If Kafka does not acknowledge the command of a mail, asking for the same again sends the same command.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import class_row

from infra.postgres.columns import fields_of, names, statement
from schemas.addresses import address_key

LASTS = timedelta(hours=24)
MOST_A_DAY = 5
"""So many mails a user gets to confirm something within a day, and as many go to new addresses: a link must not become
a way to flood a mailbox."""
KEPT = timedelta(days=30)
"""After its end, a confirmation is kept so long: its link says that it has expired, and does not seem forged."""


class TooManyMails(Exception):
    """The user got too many mails to confirm something today."""


class ConfirmationKind(StrEnum):
    """What is to be confirmed."""

    RESUBSCRIBE = "resubscribe"
    ADDRESS = "address"
    """By the present address: that the other one may be asked."""
    NEW_ADDRESS = "new_address"
    """By the new address: that it counts."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """One request. Its id is that of the command of its mail."""

    command_id: str
    user_id: str
    kind: ConfirmationKind
    purposes: Sequence[str]
    """Those to subscribe to again."""
    address: str | None
    """The new address."""
    language: str
    text_version: str
    expires_at: datetime
    mailbox: str
    """The `digest` of the address that the user had when asking first."""
    unsent: str | None
    """The occurrence of its command, until that was sent."""
    brand: str | None = None
    """The brand of the mail whose link was followed: the mail to confirm comes from it too."""
    confirmed_at: datetime | None = None

    def is_over(self, now: datetime, address: str | None) -> bool:
        """Whether it was not confirmed in time, or the user now has an address that it does not concern."""
        if self.confirmed_at is not None:
            return False
        concerned = address is not None and digest(address) == self.mailbox
        return now >= self.expires_at or not (concerned or self._is_made(address))

    def went_to(self, address: str | None) -> bool:
        """Whether its mail went to this address."""
        if self.kind is ConfirmationKind.NEW_ADDRESS:
            return self._is_made(address)
        return address is not None and digest(address) == self.mailbox

    def _is_made(self, address: str | None) -> bool:
        """Whether this address is the new one already, as when a process ends before it has noted so."""
        if address is None or self.address is None or self.kind is not ConfirmationKind.NEW_ADDRESS:
            return False
        return address_key(address) == address_key(self.address)


def digest(address: str) -> str:
    """The same text for every spelling of one mailbox, which does not tell it."""
    return hashlib.sha256(address_key(address).encode()).hexdigest()


_CONTENT = ("user_id", "kind", "purposes", "address", "language", "text_version", "mailbox", "brand")
_COLUMNS = ("command_id", *_CONTENT, "expires_at", "unsent")
_ADD = statement(
    """INSERT INTO confirmations ({columns}, made_at)
       SELECT %(command_id)s, %(user_id)s, %(kind)s, %(purposes)s, %(address)s, %(language)s, %(text_version)s,
              %(mailbox)s, %(brand)s, %(expires_at)s, %(unsent)s, %(now)s
       WHERE %(most)s > (SELECT count(*) FROM confirmations WHERE user_id = %(user_id)s AND made_at > %(day_ago)s
                         AND (kind = 'new_address') = (%(kind)s = 'new_address'))""",
    columns=names(_COLUMNS),
)
_AGAIN = statement(
    """UPDATE confirmations SET made_at = %(now)s, expires_at = %(expires_at)s
       WHERE unsent IS NOT NULL AND confirmed_at IS NULL AND expires_at > %(now)s
         AND ({content}) IS NOT DISTINCT FROM (%(user_id)s, %(kind)s, %(purposes)s::text[], %(address)s, %(language)s,
                                               %(text_version)s, %(mailbox)s, %(brand)s)
         AND user_id = %(user_id)s
       RETURNING {row}""",
    content=names(_CONTENT),
    row=fields_of(Confirmation),
)
_FIND = statement("SELECT {row} FROM confirmations WHERE command_id = %s", row=fields_of(Confirmation))


async def add(connection: AsyncConnection[Any], new: Confirmation, now: datetime) -> Confirmation:
    """Keep a request, and return it, or the same one from before whose mail was not sent. Raises TooManyMails."""
    await _hold(connection, new.user_id)
    return await _again(connection, new, now) or await _insert(connection, new, now)


async def follow(
    connection: AsyncConnection[Any], first: Confirmation, new: Confirmation, now: datetime
) -> Confirmation | None:
    """Note that the first request was confirmed, and keep the one that follows it. None if its mail was sent before.

    Raises TooManyMails, and then notes nothing.
    """
    await _hold(connection, new.user_id)
    is_first = await confirm(connection, first.command_id, now)
    again = await _again(connection, new, now)
    return await _insert(connection, new, now) if is_first and again is None else again


async def note_sent(connection: AsyncConnection[Any], command_id: str) -> None:
    """Note that Kafka has the command."""
    await connection.execute("UPDATE confirmations SET unsent = NULL WHERE command_id = %s", [command_id])


async def find(connection: AsyncConnection[Any], command_id: str) -> Confirmation | None:
    """The request whose mail has this command."""
    return await _one(connection, _FIND, [command_id])


async def confirm(connection: AsyncConnection[Any], command_id: str, now: datetime) -> bool:
    """Note that its change was made. Only the first time counts; returns whether this is it."""
    noted = await connection.execute(
        "UPDATE confirmations SET confirmed_at = %s WHERE command_id = %s AND confirmed_at IS NULL", [now, command_id]
    )
    return noted.rowcount == 1


async def _hold(connection: AsyncConnection[Any], user_id: str) -> None:
    """Let requests of one user wait for each other."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 16))", [user_id])


async def _insert(connection: AsyncConnection[Any], new: Confirmation, now: datetime) -> Confirmation:
    """Keep a request, unless its user made too many today. Removes those that are long over."""
    await connection.execute("DELETE FROM confirmations WHERE expires_at < %s", [now - KEPT])
    limits = {"now": now, "day_ago": now - timedelta(days=1), "most": MOST_A_DAY}
    if (await connection.execute(_ADD, _values(new) | limits)).rowcount != 1:
        raise TooManyMails
    return new


async def _again(connection: AsyncConnection[Any], new: Confirmation, now: datetime) -> Confirmation | None:
    return await _one(connection, _AGAIN, _values(new) | {"now": now})


def _values(new: Confirmation) -> dict[str, Any]:
    return {name: getattr(new, name) for name in _COLUMNS} | {"purposes": list(new.purposes)}


async def _one(
    connection: AsyncConnection[Any], query: bytes, values: Sequence[Any] | Mapping[str, Any]
) -> Confirmation | None:
    cursor = connection.cursor(row_factory=class_row(Confirmation))
    found = await (await cursor.execute(query, values)).fetchone()
    return found and replace(found, kind=ConfirmationKind(found.kind))

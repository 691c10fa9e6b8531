"""The audit: who changed what, by a command or a page, in rows that are chained by hashes and only added.

No address and no secret stands in it. Of people who get mail it has keyed hashes, so that who has the key can look for
one of them. It is in the database of the ledger.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from psycopg import AsyncConnection, Connection

_ADDRESS = re.compile(r"[^\s@<>\"',;:]+@[^\s@<>\"',;:]+")
_ADD = "SELECT audit_add(%s, %s, %s, %s::json, %s::json)"
_FOUND = b"""SELECT number, entry FROM audit_log, LATERAL (SELECT entry::json AS said) AS s
    WHERE (%(since)s::timestamptz IS NULL OR (said->>'at')::timestamptz >= %(since)s)
      AND (%(who)s::text IS NULL OR said->>'who' = %(who)s)
      AND (%(what)s::text IS NULL OR said->>'what' = %(what)s OR starts_with(said->>'what', %(what)s || ' '))
      AND (%(about)s::text IS NULL OR strpos(said->>'subject', %(about)s) > 0)
    ORDER BY number DESC LIMIT %(most)s"""
READ_AT_ONCE = 2_000
LOCK = 7_306_120
"""The advisory lock that `audit_add` takes."""


class AuditedChange(NamedTuple):
    """A change as the audit keeps it."""

    who: str
    what: str
    """Such as `rules apply`: the command without its arguments, or the page."""
    subject: str
    """What it changes, such as `set shop`, `trigger/win-back` or the hash of an address."""
    before: Any = None
    after: Any = None


class AuditWords:
    """Makes changes fit for the audit: addresses become keyed hashes."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def address(self, address: str) -> str:
        """What stands for an address."""
        return f"address:{self._hash(address.casefold())}"

    def change(self, who: str, what: str, subject: str, before: Any = None, after: Any = None) -> AuditedChange:
        """The change, without any address in what people wrote. Of who made it, only the domain is left out."""
        return AuditedChange(
            re.sub(r"@\S*", "@…", who), what, self._masked(subject), self._masked(before), self._masked(after)
        )

    def _hash(self, text: str) -> str:
        return hmac.new(self._secret, b"ebbtide audit " + text.encode(), hashlib.sha256).hexdigest()[:32]

    def _masked(self, value: Any) -> Any:
        if isinstance(value, str):
            return _ADDRESS.sub(lambda found: self.address(found[0]), value)
        if isinstance(value, Mapping):
            return {str(self._masked(key)): self._masked(each) for key, each in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return [self._masked(each) for each in value]
        return value


def add(connection: Connection[Any], change: AuditedChange) -> int:
    """Add a change in the connection's transaction, and return its number."""
    [[number]] = connection.execute(_ADD, _parameters(change)).fetchall()
    return int(number)


async def add_async(connection: AsyncConnection[Any], change: AuditedChange) -> int:
    """The same for the event loop."""
    [[number]] = await (await connection.execute(_ADD, _parameters(change))).fetchall()
    return int(number)


def _parameters(change: AuditedChange) -> list[str | None]:
    return [change.who, change.what, change.subject, _json(change.before), _json(change.after)]


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def last_number(connection: Connection[Any], topic: str) -> int:
    """The highest number under which changes of a topic stand in the audit; 0 if there is none.

    Nobody else adds any until the connection's transaction ends.
    """
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
    query = "SELECT max((entry::json #>> %s::text[])::bigint) FROM audit_log"
    [[number]] = connection.execute(query, [["after", topic]]).fetchall()
    return int(number or 0)


def find(
    connection: Connection[Any],
    since: datetime | None = None,
    who: str | None = None,
    what: str | None = None,
    about: str | None = None,
    most: int | None = None,
) -> list[dict[str, Any]]:
    """The newest entries that match every argument given, the oldest of them first.

    `what` may be its first words. `about` is in the subject, such as the hash of one of several people.
    """
    wanted = {"since": since, "who": who, "what": what, "about": about, "most": most}
    return [orjson.loads(entry) for _, entry in reversed(connection.execute(_FOUND, wanted).fetchall())]


class AuditEnd(NamedTuple):
    """Up to where the audit goes, to be kept elsewhere."""

    number: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> "AuditEnd":
        """The end that `str` wrote. Raises ValueError."""
        number, _, hash_ = text.partition(":")
        end = cls(int(number), bytes.fromhex(hash_))
        if end.number < 0 or len(end.hash) != (hashlib.sha256().digest_size if end.number else 0):
            raise ValueError("no end of an audit")
        return end


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What was verified: up to which row, and what is wrong first."""

    end: AuditEnd
    problem: str | None = None


def verify(connection: Connection[Any], kept: Iterable[AuditEnd] = ()) -> AuditCheck:
    """Verify the whole chain, and that it has the ends that were kept elsewhere, in the connection's transaction."""
    end = AuditEnd(0, b"")
    wanted: dict[int, set[bytes]] = {}
    for each in {*kept} - {end}:  # every audit begins with no row
        wanted.setdefault(each.number, set()).add(each.hash)
    for number, entry, hash_ in _rows(connection):
        problem = _problem(end, number, entry, hash_)
        if problem is None and wanted.pop(number, {hash_}) != {hash_}:
            problem = f"row {number} or one before it is not what was kept elsewhere"
        if problem is not None:
            return AuditCheck(end, problem)
        end = AuditEnd(number, hash_)
    if wanted:
        return AuditCheck(end, f"row {end.number + 1} is missing: there was a row {max(wanted)}")
    return AuditCheck(end)


def _problem(before: AuditEnd, number: int, entry: str, hash_: bytes) -> str | None:
    if number != before.number + 1:
        return f"row {before.number + 1} is missing: the next one is row {number}"
    if hashlib.sha256(before.hash + entry.encode()).digest() != hash_:
        return f"row {number} was changed: its hash is not that of its content and of the row before"
    return None


def _rows(connection: Connection[Any]) -> Iterator[tuple[int, str, bytes]]:
    with connection.cursor(name="audit_rows") as cursor:
        cursor.itersize = READ_AT_ONCE
        cursor.execute("SELECT number, entry, hash FROM audit_log ORDER BY number")
        for number, entry, hash_ in cursor:
            yield number, entry, bytes(hash_)

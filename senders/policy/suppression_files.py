"""Suppressions as CSV: a list that is imported from another system, and the list that is exported."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from psycopg import Connection

from infra.postgres.columns import RowArrays, statement
from schemas.errors import UserError
from senders.policy.pipeline import EVERY_PURPOSE
from senders.policy.recipients import AddressHasher

COLUMNS: Final = ("address_hash", "scope", "reason", "since", "source", "expires_at", "command_id")
"""What is exported. An import takes `address` too, instead of `address_hash`, and needs only one of the two."""
SHOWN: Final = 20
BATCH: Final = 5_000
IMPORTED: Final = "import"


class InvalidList(UserError):
    """A list cannot be imported. The message names each wrong line, and no address."""


@dataclass(frozen=True, slots=True)
class ListedAddress:
    """One line of a list."""

    address_hash: bytes
    scope: str
    reason: str
    since: datetime
    source: str
    expires_at: datetime | None
    command_id: str | None


def read_list(
    lines: Iterable[str], hasher: AddressHasher, plain: Callable[[str], str], now: datetime
) -> list[ListedAddress]:
    """Reads a list. `plain` returns an address as delivery keeps it. Raises InvalidList with all that is wrong."""
    reader = csv.DictReader(lines)
    header = [name.strip().lower() for name in reader.fieldnames or ()]
    if not {"address", "address_hash"} & set(header):
        raise InvalidList(f"line 1: there is no column address or address_hash; columns are {', '.join(COLUMNS)}")
    if unknown := sorted(set(header) - {*COLUMNS, "address"}):
        raise InvalidList(f"line 1: unknown columns {', '.join(unknown)}; columns are address, {', '.join(COLUMNS)}")
    reader.fieldnames = header
    found: list[ListedAddress] = []
    wrong: list[str] = []
    for row in reader:
        try:
            found.append(_listed(row, hasher, plain, now))
        except (ValueError, UserError) as problem:
            wrong.append(f"line {reader.line_num}: {problem}")
    if wrong:
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        raise InvalidList("\n".join(wrong[:SHOWN] + more))
    return found


def _listed(row: dict[str, Any], hasher: AddressHasher, plain: Callable[[str], str], now: datetime) -> ListedAddress:
    if None in row:
        raise ValueError("it has more values than there are columns")
    value = {name: (text or "").strip() for name, text in row.items()}
    expires_at = _moment(value.get("expires_at", ""), "expires_at")
    since = _moment(value.get("since", ""), "since") or now
    return ListedAddress(
        address_hash=_hash(value, hasher, plain),
        scope=value.get("scope") or EVERY_PURPOSE,
        reason=value.get("reason") or IMPORTED,
        since=min(since, now),
        source=value.get("source") or IMPORTED,
        expires_at=expires_at,
        command_id=value.get("command_id") or None,
    )


def _hash(value: dict[str, str], hasher: AddressHasher, plain: Callable[[str], str]) -> bytes:
    if value.get("address"):
        return hasher(plain(value["address"]))
    try:
        found = bytes.fromhex(value.get("address_hash", ""))
    except ValueError:
        found = b""
    if len(found) != 32:
        raise ValueError("address_hash is not the 64 hexadecimal digits of a keyed hash")
    return found


def _moment(text: str, name: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} is no moment such as 2026-11-29T12:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_LISTED = RowArrays[ListedAddress](
    address_hash=("bytea", lambda each: each.address_hash),
    scope=("text", lambda each: each.scope),
    reason=("text", lambda each: each.reason),
    since=("timestamptz", lambda each: each.since),
    source=("text", lambda each: each.source),
    expires_at=("timestamptz", lambda each: each.expires_at),
    command_id=("text", lambda each: each.command_id),
)
_ADD = statement(
    """WITH added AS (
           INSERT INTO suppressions (address_hash, scope, reason, since, source, expires_at, command_id)
           SELECT DISTINCT ON (address_hash, scope)
               address_hash, scope, reason, since, source, expires_at, command_id
           FROM {listed} ORDER BY address_hash, scope, since
           ON CONFLICT DO NOTHING RETURNING *
       )
       INSERT INTO suppression_audit (at, by, action, why, address_hash, scope)
       SELECT %(at)s, %(by)s, 'add', %(why)s, address_hash, scope FROM added""",
    listed=_LISTED.unnest("listed"),
)


def add_all(connection: Connection[Any], listed: Sequence[ListedAddress], by: str, why: str, at: datetime) -> int:
    """Suppress these addresses, with a line of the audit for each. Returns how many were not suppressed before."""
    added = 0
    for start in range(0, len(listed), BATCH):
        parameters = _LISTED.parameters(listed[start : start + BATCH])
        added += connection.execute(_ADD, {"at": at, "by": by, "why": why, **parameters}).rowcount
    return added


def exported(connection: Connection[Any]) -> Iterator[list[str]]:
    """The lines of the CSV file: its header, and each suppression that has not ended."""
    yield list(COLUMNS)
    with connection.cursor("suppressions") as cursor:
        cursor.execute(
            """SELECT encode(address_hash, 'hex'), scope, reason, since, source, expires_at, command_id
               FROM suppressions WHERE expires_at IS NULL OR expires_at > now() ORDER BY since, address_hash, scope"""
        )
        for row in cursor:
            yield [value.isoformat() if isinstance(value, datetime) else value or "" for value in row]

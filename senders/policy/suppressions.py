"""The list of suppressions as people see and change it: which there are, why, and who lifted or added one.

Only the keyed hash of an address is known here. Delivery itself adds to the list after a hard refusal
(`senders.queue.transitions`) and after outcomes (`senders.policy.outcome_suppressions`), and reads it before each send
(`senders.policy.recipients`). Each change by a person is written to `suppression_audit` in the same statement, together
with the row that was there.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection
from psycopg.rows import args_row, class_row

from infra.postgres.columns import fields_of, statement
from senders.policy.recipients import AddressHasher

BY_COMMAND = "command"
"""The reason of a suppression that a person added."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """One address that gets no mail of one purpose, or none at all (scope `*`). The user is that of the command."""

    address_hash: bytes
    scope: str
    reason: str
    since: datetime
    source: str | None
    expires_at: datetime | None
    command_id: str | None
    user_id: str | None
    trigger: str | None


@dataclass(frozen=True, slots=True)
class DeliveryFact:
    """An outcome of the command that caused a suppression, from the ledger or the hypertables."""

    command_id: str
    kind: str
    time: datetime
    user_id: str
    trigger: str | None
    purpose: str | None
    code: int | None
    enhanced: str | None
    reply: str | None
    classification: str | None


@dataclass(frozen=True, slots=True)
class SuppressionChange:
    """One line of the audit. `suppression` is what was lifted: its reason, since when and by which command."""

    id: int
    at: datetime
    by: str
    action: str
    why: str
    address_hash: bytes
    scope: str
    suppression: dict[str, Any] | None


_RECORDED = statement(
    """SELECT {fact} FROM deliveries WHERE command_id = ANY(%(ids)s) AND kind = 'refused'
       UNION
       SELECT {fact} FROM engagement
       WHERE command_id = ANY(%(ids)s) AND kind IN ('bounced', 'complained', 'unsubscribed')""",
    fact=fields_of(DeliveryFact),
)
_REFUSED = b"""SELECT command_id, state, state_at, user_id, trigger, purpose, (reply->>'code')::integer,
              reply->>'enhanced', reply->>'text', reason
       FROM ledger WHERE key IN (SELECT ledger_key(id) FROM unnest(%(ids)s::text[]) AS id) AND state = 'refused'"""
_HISTORY = statement(
    "SELECT {change} FROM suppression_audit WHERE address_hash = ANY(%s) ORDER BY at, id",
    change=fields_of(SuppressionChange),
)
_LIFT = statement(
    """WITH lifted AS (
           DELETE FROM suppressions
           WHERE address_hash = %(hash)s AND (%(scope)s::text IS NULL OR scope = %(scope)s) RETURNING *
       )
       INSERT INTO suppression_audit (at, by, action, why, address_hash, scope, suppression)
       SELECT %(at)s, %(by)s, 'lift', %(why)s, address_hash, scope,
              jsonb_build_object('reason', reason, 'since', since, 'command_id', command_id)
       FROM lifted RETURNING {change}""",
    change=fields_of(SuppressionChange),
)
_NOTE_LIFT = statement(
    """INSERT INTO suppression_audit (at, by, action, why, address_hash, scope)
       VALUES (%s, %s, 'lift', %s, %s, '*') RETURNING {change}""",
    change=fields_of(SuppressionChange),
)


def find(
    connection: Connection[Any],
    hashes: Collection[bytes] | None = None,
    scope: str | None = None,
    reason: str | None = None,
    command_id: str | None = None,
) -> list[Suppression]:
    """The suppressions that match every argument given, the newest first."""
    cursor = connection.cursor(row_factory=class_row(Suppression))
    cursor.execute(
        """SELECT s.address_hash, s.scope, s.reason, s.since, s.source, s.expires_at, s.command_id,
                  s.user_id, s.trigger
           FROM suppressions s
           WHERE (s.expires_at IS NULL OR s.expires_at > now())
             AND (%(hashes)s::bytea[] IS NULL OR s.address_hash = ANY(%(hashes)s))
             AND (%(scope)s::text IS NULL OR s.scope = %(scope)s)
             AND (%(reason)s::text IS NULL OR s.reason = %(reason)s)
             AND (%(command)s::text IS NULL OR s.command_id = %(command)s)
           ORDER BY s.since DESC, s.address_hash, s.scope""",
        {
            "hashes": None if hashes is None else list(hashes),
            "scope": scope,
            "reason": reason,
            "command": command_id,
        },
    )
    return cursor.fetchall()


def facts(ledger: Connection[Any], timescale: Connection[Any], commands: Collection[str]) -> list[DeliveryFact]:
    """The outcomes of these commands that caused suppressions, the oldest first."""
    found: set[DeliveryFact] = set()
    for connection, query in ((ledger, _REFUSED), (timescale, _RECORDED)):
        found |= set(connection.cursor(row_factory=args_row(DeliveryFact)).execute(query, {"ids": list(commands)}))
    return sorted(found, key=lambda fact: (fact.time, fact.kind))


def history(connection: Connection[Any], hashes: Collection[bytes]) -> list[SuppressionChange]:
    """What was changed for these addresses, the oldest first."""
    cursor = connection.cursor(row_factory=class_row(SuppressionChange))
    cursor.execute(
        _HISTORY,
        [list(hashes)],
    )
    return cursor.fetchall()


def lift(
    connection: Connection[Any], address_hash: bytes, scope: str | None, by: str, why: str, at: datetime
) -> list[SuppressionChange]:
    """Lift an address's suppression in one scope or in all. Returns the new lines of the audit."""
    cursor = connection.cursor(row_factory=class_row(SuppressionChange))
    cursor.execute(
        _LIFT,
        {"hash": address_hash, "scope": scope, "at": at, "by": by, "why": why},
    )
    return cursor.fetchall()


def add(
    connection: Connection[Any],
    address_hash: bytes,
    scope: str,
    by: str,
    why: str,
    at: datetime,
    expires_at: datetime | None = None,
) -> bool:
    """Suppress an address in a scope. Returns False, and writes nothing, if it is suppressed there already."""
    cursor = connection.execute(
        """WITH added AS (
               INSERT INTO suppressions (address_hash, scope, reason, since, expires_at)
               VALUES (%(hash)s, %(scope)s, %(reason)s, %(at)s, %(expires)s)
               ON CONFLICT DO NOTHING RETURNING *
           )
           INSERT INTO suppression_audit (at, by, action, why, address_hash, scope)
           SELECT %(at)s, %(by)s, 'add', %(why)s, address_hash, scope FROM added""",
        {
            "hash": address_hash,
            "scope": scope,
            "reason": BY_COMMAND,
            "at": at,
            "by": by,
            "why": why,
            "expires": expires_at,
        },
    )
    return cursor.rowcount == 1


def note_lift_in_streams(
    connection: Connection[Any], address_hash: bytes, by: str, why: str, at: datetime
) -> SuppressionChange:
    """Write the audit's line of a lift that only concerns stream workers: delivery suppresses nothing."""
    cursor = connection.cursor(row_factory=class_row(SuppressionChange))
    cursor.execute(
        _NOTE_LIFT,
        [at, by, why, address_hash],
    )
    change = cursor.fetchone()
    assert change is not None, "an INSERT without a condition returns its row"
    return change


def users_at(connection: Connection[Any], hasher: AddressHasher, address_hash: bytes) -> list[str]:
    """The users whose address this is now. Reads every recipient, because a hash does not tell the address."""
    with connection.cursor("recipients") as cursor:
        cursor.execute("SELECT user_id, address FROM recipients WHERE address IS NOT NULL")
        return [user_id for user_id, address in cursor if hasher(address) == address_hash]


def hashes_of_user(
    ledger: Connection[Any], timescale: Connection[Any], hasher: AddressHasher, user_id: str
) -> set[bytes]:
    """The hashes of a user's present address, and of those that the user's commands in the ledger went to."""
    sent = timescale.execute("SELECT command FROM mails WHERE user_id = %s", [user_id])
    rows = ledger.execute(
        """SELECT address_hash FROM ledger_queue WHERE user_id = %(user)s AND address_hash IS NOT NULL
           UNION
           SELECT address_hash FROM ledger_outcomes WHERE address_hash IS NOT NULL
             AND command_id = ANY(%(sent)s)""",
        {"user": user_id, "sent": [command for (command,) in sent]},
    )
    found = {bytes(address_hash) for (address_hash,) in rows}
    row = ledger.execute("SELECT address FROM recipients WHERE user_id = %s", [user_id]).fetchone()
    return found | {hasher(row[0])} if row and row[0] else found

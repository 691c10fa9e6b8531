"""Suppressions that outcomes bring: complaints, unsubscribes, and hard bounces after acceptance.

A hard refusal while sending suppresses in the ledger's own transaction (`senders.queue.transitions`).
"""

from typing import Any

import structlog
from psycopg import Connection

from schemas.outcome_records import MAY_WITHHOLD
from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind
from senders.policy.pipeline import EVERY_PURPOSE
from senders.policy.recipients import AddressHasher

_ALWAYS = frozenset({OutcomeKind.COMPLAINED, OutcomeKind.UNSUBSCRIBED})
_log = structlog.get_logger("senders.policy.outcome_suppressions")


def suppresses(outcome: Outcome) -> bool:
    """Whether the outcome suppresses an address: by its kind, or because it is hard."""
    return outcome.kind in MAY_WITHHOLD and (outcome.kind in _ALWAYS or outcome.is_hard)


def suppress(connection: Connection[Any], hasher: AddressHasher, outcome: Outcome) -> None:
    """Suppress the address that the command went to, or the user's present address if the ledger does not know it."""
    row = connection.execute(
        """SELECT l.address_hash, l.purpose, r.address FROM (SELECT %s::text AS id, %s::text AS user_id) AS o
           LEFT JOIN ledger l ON l.command_id = o.id AND l.user_id = o.user_id
           LEFT JOIN recipients r ON r.user_id = o.user_id""",
        [outcome.command_id, outcome.user_id],
    ).fetchone()
    address_hash, purpose, address = row or (None, None, None)
    address_hash = address_hash or (hasher(address) if address else None)
    if address_hash is None:
        _log.warning("suppression_without_address", command_id=outcome.command_id, kind=outcome.kind.value)
        return
    scope = EVERY_PURPOSE
    if outcome.kind is OutcomeKind.UNSUBSCRIBED:
        # The purpose of a command that the ledger does not know is unknown. Then the unsubscribe is from everything.
        scope = purpose or EVERY_PURPOSE
    # An outcome that is read a second time must not bring back what a person has lifted since.
    connection.execute(
        """INSERT INTO suppressions (address_hash, scope, reason, since, command_id)
           SELECT %(hash)s, %(scope)s, %(reason)s, %(since)s, %(command)s
           WHERE NOT EXISTS (SELECT FROM suppression_audit WHERE action = 'lift' AND at >= %(since)s
                             AND address_hash = %(hash)s AND scope = %(scope)s)
           ON CONFLICT DO NOTHING""",
        {
            "hash": address_hash,
            "scope": scope,
            "reason": outcome.kind.value,
            "since": outcome.time,
            "command": outcome.command_id,
        },
    )

"""Lifts suppressions by address or by command, and what stream workers learn of it."""

from datetime import UTC, datetime
from typing import Any

from psycopg import Connection

from schemas.outcomes import Outcome, outcome_id
from schemas.vocabulary import OutcomeKind
from senders.policy import suppressions
from senders.policy.pipeline import EVERY_PURPOSE
from senders.policy.recipients import AddressHasher
from senders.policy.suppressions import SuppressionChange


def lift(
    connection: Connection[Any], hasher: AddressHasher, hashes: list[bytes], scope: str | None, by: str, why: str
) -> tuple[list[SuppressionChange], list[tuple[SuppressionChange, str]]]:
    """Lifts the suppressions of these addresses; returns the audit, and its lines for users."""
    at = datetime.now(UTC)
    lifted: list[SuppressionChange] = []
    users: list[tuple[SuppressionChange, str]] = []
    for address_hash in hashes:
        known = suppressions.users_at(connection, hasher, address_hash) if scope in (None, EVERY_PURPOSE) else []
        changes = suppressions.lift(connection, address_hash, scope, by, why, at)
        if not changes and known:
            changes = [suppressions.note_lift_in_streams(connection, address_hash, by, why, at)]
        lifted += changes
        users += [(change, user) for change in changes if change.scope == EVERY_PURPOSE for user in known]
    return lifted, users


def reinstated(change: SuppressionChange, user_id: str) -> Outcome:
    """The outcome that tells the stream worker of a user about a lifted suppression."""
    named = f"suppression-audit-{change.id}-{user_id}"
    command_id = (change.suppression or {}).get("command_id") or f"suppression-audit-{change.id}"
    kind = OutcomeKind.REINSTATED
    return Outcome(id=outcome_id(named, kind, 0), command_id=command_id, user_id=user_id, kind=kind, time=change.at)

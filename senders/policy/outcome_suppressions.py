"""Suppressions that outcomes bring, and what lifts them without a command of a person.

Complaints, unsubscribes, and hard bounces after acceptance suppress. (A hard refusal while sending suppresses in the
ledger's own transaction, see `senders.queue.transitions`.) An unsubscribe ends when its user consents to that purpose
again. The outcome `reinstated` repeats what a person lifted, for a view that is read again from the topics.

Profiles and outcomes are separate topics, so a consent may be read before an older unsubscribe, and an outcome before
the first profile of its user. The result is the same.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import structlog
from psycopg import Connection
from psycopg.sql import SQL

from infra.postgres.columns import RowArrays, statement
from schemas.outcome_records import MAY_WITHHOLD
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.vocabulary import OutcomeKind
from senders.policy import bounce_scores
from senders.policy.pipeline import EVERY_PURPOSE
from senders.policy.recipients import AddressHasher

_SUPPRESSING = frozenset({OutcomeKind.COMPLAINED, OutcomeKind.UNSUBSCRIBED})
_OF_NO_CONCERN = frozenset(OutcomeKind) - MAY_WITHHOLD - {OutcomeKind.REFUSED, OutcomeKind.REINSTATED}
_log = structlog.get_logger("senders.policy.outcome_suppressions")


def may_concern(value: bytes | None) -> bool:
    """Whether a record of `outcomes` may concern suppressions. No is certain: most say that a mail was taken."""
    try:
        data = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return True
    kind = data.get("kind") if isinstance(data, dict) else None
    return not (isinstance(kind, str) and kind in _OF_NO_CONCERN)


def concerns_suppressions(outcome: Outcome) -> bool:
    """Whether the outcome suppresses an address, as it is hard, scores, or by its kind; or lifts a suppression."""
    suppresses = outcome.kind in MAY_WITHHOLD and (outcome.kind in _SUPPRESSING or outcome.is_hard)
    return suppresses or outcome.kind is OutcomeKind.REINSTATED or bounce_scores.scores(outcome)


def apply_outcome(connection: Connection[Any], hasher: AddressHasher, outcome: Outcome) -> None:
    """Suppress the address that the command went to, or the user's present one; or lift what was reinstated."""
    if outcome.kind is OutcomeKind.REINSTATED:
        _reinstate(connection, hasher, outcome)
    else:
        _suppress(connection, hasher, outcome)


_LATER_UNSUBSCRIBE = SQL(
    """UPDATE SET since = EXCLUDED.since, command_id = EXCLUDED.command_id, user_id = EXCLUDED.user_id
       WHERE known.reason = 'unsubscribed' AND EXCLUDED.reason = 'unsubscribed' AND known.since < EXCLUDED.since"""
)
"""A later unsubscribe counts from its own time, so that a consent given before it lifts nothing."""
_INSERT = statement(
    """INSERT INTO suppressions AS known (address_hash, scope, reason, since, command_id, user_id)
       SELECT %(hash)s, %(scope)s, %(reason)s, %(since)s, %(command)s, %(user)s
       WHERE NOT EXISTS (SELECT FROM suppression_audit WHERE action = 'lift' AND at >= %(since)s
                         AND address_hash = %(hash)s AND scope = %(scope)s)
       ON CONFLICT (address_hash, scope) DO {later_unsubscribe}""",
    later_unsubscribe=_LATER_UNSUBSCRIBE,
)
"""An outcome that is read a second time must not bring back what was lifted since."""
_INSERT_PENDING = statement(
    """INSERT INTO pending_suppressions AS known (user_id, scope, reason, since, command_id)
       VALUES (%(user)s, %(scope)s, %(reason)s, %(since)s, %(command)s)
       ON CONFLICT (user_id, scope) DO {later_unsubscribe}""",
    later_unsubscribe=_LATER_UNSUBSCRIBE,
)


def _suppress(connection: Connection[Any], hasher: AddressHasher, outcome: Outcome) -> None:
    row = connection.execute(
        """SELECT l.address_hash, p.purpose, r.address,
                  r.consent -> p.purpose -> 'granted' = 'true'
                      AND least((r.consent -> p.purpose ->> 'time')::timestamptz, r.known_at) > %s
           FROM (SELECT %s::text AS id, %s::text AS user_id, %s::text AS purpose) AS o
           LEFT JOIN ledger l ON l.key = ledger_key(o.id) AND l.user_id = o.user_id
           LEFT JOIN recipients r ON r.user_id = o.user_id,
           LATERAL (SELECT coalesce(l.purpose, o.purpose) AS purpose) AS p""",
        [outcome.time, outcome.command_id, outcome.user_id, outcome.purpose],
    ).fetchone()
    went_to, purpose, address, consented_later = row or (None, None, None, None)
    present = hasher(address) if address else None
    address_hash = went_to or present
    if bounce_scores.scores(outcome):
        if address_hash is not None:
            bounce_scores.add(connection, address_hash, outcome)
        return
    # If neither the ledger nor the outcome knows the purpose, an unsubscribe is from everything.
    unsubscribed = outcome.kind is OutcomeKind.UNSUBSCRIBED
    suppression = {
        "scope": purpose or EVERY_PURPOSE if unsubscribed else EVERY_PURPOSE,
        "reason": outcome.kind.value,
        "since": outcome.time,
        "command": outcome.command_id,
        "user": outcome.user_id,
    }
    if address_hash is None:
        _log.warning("suppression_without_address", command_id=outcome.command_id, kind=outcome.kind.value)
        connection.execute(_INSERT_PENDING, suppression)
    elif not (unsubscribed and consented_later and address_hash == present):
        connection.execute(_INSERT, suppression | {"hash": address_hash})


def suppress_known_addresses(connection: Connection[Any], hasher: AddressHasher, users: Sequence[str]) -> None:
    """Suppress the addresses of these users if outcomes came before the address was known."""
    pending = connection.execute(
        """DELETE FROM pending_suppressions AS pending USING recipients AS r
           WHERE pending.user_id = ANY(%s) AND r.user_id = pending.user_id AND r.address IS NOT NULL
           RETURNING r.address, scope, reason, since, command_id, pending.user_id""",
        [list(users)],
    ).fetchall()
    for address, *found in pending:
        suppression = dict(zip(("scope", "reason", "since", "command", "user"), found, strict=True))
        connection.execute(_INSERT, suppression | {"hash": hasher(address)})


class _Lift(NamedTuple):
    address_hash: bytes
    scope: str
    user_id: str
    at: datetime


_LIFTS = RowArrays[_Lift](
    address_hash=("bytea", lambda lift: lift.address_hash),
    scope=("text", lambda lift: lift.scope),
    user_id=("text", lambda lift: lift.user_id),
    at=("timestamptz", lambda lift: lift.at),
)
_LIFT = """WITH lifted AS (
        DELETE FROM suppressions AS known USING {lifts}
        WHERE known.address_hash = lift.address_hash AND known.scope = lift.scope
          AND known.since {before} least(lift.at, now()) AND {condition}
        RETURNING known.*, least(lift.at, now()) AS at
    )
    INSERT INTO suppression_audit (at, by, action, why, address_hash, scope, suppression)
    SELECT at, {by}, 'lift', {why}, address_hash, scope,
           jsonb_build_object('reason', reason, 'since', since, 'command_id', command_id)
    FROM lifted"""
_LIFT_UNSUBSCRIBED = statement(
    _LIFT,
    lifts=_LIFTS.unnest("lift"),
    before=SQL("<"),
    condition=SQL("known.reason = 'unsubscribed' AND known.user_id = lift.user_id"),
    by=SQL("'consent'"),
    why=SQL("'the user consented again'"),
)
_LIFT_REINSTATED = statement(
    _LIFT,
    lifts=_LIFTS.unnest("lift"),
    before=SQL("<="),
    condition=SQL("true"),
    by=SQL("'reinstated'"),
    why=SQL("'the outcome of an earlier lift'"),
)


def lift_by_consent(connection: Connection[Any], hasher: AddressHasher, profiles: Sequence[Profile]) -> None:
    """Lift an unsubscribe if its user has consented to that purpose since, with the same address.

    A consent with a time in the future counts from now. It lifts no complaint, no hard bounce, and nothing that a
    person added.
    """
    lifts = [
        _Lift(hasher(profile.address), purpose, profile.user_id, answer.time)
        for profile in profiles
        if profile.address
        for purpose, answer in profile.consent.items()
        if answer.granted
    ]
    if lifts:
        connection.execute(_LIFT_UNSUBSCRIBED, _LIFTS.parameters(lifts))


def _reinstate(connection: Connection[Any], hasher: AddressHasher, outcome: Outcome) -> None:
    """Lift what suppressed the user's present address before, or would suppress the next one. Changes nothing if a
    person has lifted it here."""
    connection.execute(
        "DELETE FROM pending_suppressions WHERE user_id = %s AND scope = %s AND since <= %s",
        [outcome.user_id, EVERY_PURPOSE, outcome.time],
    )
    row = connection.execute("SELECT address FROM recipients WHERE user_id = %s", [outcome.user_id]).fetchone()
    if row is not None and row[0]:
        lift = _Lift(hasher(row[0]), EVERY_PURPOSE, outcome.user_id, outcome.time)
        connection.execute(_LIFT_REINSTATED, _LIFTS.parameters([lift]))

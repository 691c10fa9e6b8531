"""Brings a restored ledger up to what happened after the backup, so that no mail is sent a second time.

The topic `outcomes` says which commands have ended since. Of the others, nobody knows which delivery had begun when its
database was lost: they are put in doubt, and a person settles them, unless it is known that no worker ran.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from psycopg import Connection

from infra.postgres.columns import RowArrays, statement
from schemas.outcomes import Outcome
from schemas.vocabulary import NEVER_ACCEPTED, DeliveryReason, OutcomeKind
from senders.queue import admission
from senders.queue.ledger import Admission

FINAL = NEVER_ACCEPTED | {OutcomeKind.ACCEPTED}
"""The outcomes of delivery after which nothing more happens to a command."""
BATCH = 1_000


class EndedCommand(NamedTuple):
    """A command that ended after the backup, by its outcome on the topic."""

    partition: int
    outcome: Outcome


_ENDED = RowArrays[EndedCommand](
    id=("text", lambda each: each.outcome.command_id),
    partition=("int", lambda each: each.partition),
    at=("timestamptz", lambda each: each.outcome.time),
    attempt=("int", lambda each: each.outcome.attempt),
    hard=("boolean", lambda each: bool(each.outcome.hard)),
    state=("text", lambda each: each.outcome.kind.value),
    reason=("text", lambda each: each.outcome.classification),
    reply=("text", lambda each: None if each.outcome.reply is None else each.outcome.reply.model_dump_json()),
    classifier_hash=("text", lambda each: each.outcome.classifier_hash),
    user_id=("text", lambda each: each.outcome.user_id),
    trigger=("text", lambda each: each.outcome.trigger or "unknown"),
    purpose=("text", lambda each: each.outcome.purpose or "unknown"),
    brand=("text", lambda each: each.outcome.brand),
    channel=("text", lambda each: each.outcome.channel),
)
_NOTE_ENDED = statement(
    """WITH told AS (SELECT DISTINCT ON (id) ledger_key(id) AS key, n.* FROM {ended} WHERE ledger_key(id) IS NOT NULL),
       new AS (
           SELECT * FROM told WHERE NOT EXISTS (
               SELECT FROM ledger_outcomes AS o
               WHERE o.command_id = told.key AND o.state NOT IN ('deferred', 'in_doubt'))
       ), left_queue AS (
           DELETE FROM ledger_queue AS q USING new WHERE q.command_id = new.key
           RETURNING q.command_id, q.admitted_at, q.started_at, q.address_hash
       ), known AS (
           INSERT INTO ledger_ids (command_id, admitted_on)
           SELECT key, (now() AT TIME ZONE 'UTC')::date FROM new
           WHERE NOT EXISTS (SELECT FROM ledger_ids AS i WHERE i.command_id = new.key) ON CONFLICT DO NOTHING
       )
       INSERT INTO ledger_outcomes (admitted_at, started_at, state_at, command_id, partition, attempt, hard, state,
                                    address_hash, reason, reply, classifier_hash, user_id, trigger, purpose,
                                    brand, channel)
       SELECT coalesce(q.admitted_at, new.at), q.started_at, new.at, new.key, new.partition, new.attempt, new.hard,
              new.state, q.address_hash, new.reason, new.reply, new.classifier_hash, new.user_id, new.trigger,
              new.purpose, new.brand, new.channel
       FROM new LEFT JOIN left_queue AS q ON q.command_id = new.key""",
    ended=_ENDED.unnest("n"),
)
_DOUBT = """UPDATE ledger_queue SET state = 'in_doubt', state_at = now(), reason = %(reason)s, detail = 'restored',
    next_attempt_at = NULL, behind = NULL, attempt = greatest(attempt, 1) WHERE state <> 'in_doubt'"""
_WAITING = "SELECT count(*) FROM ledger_queue WHERE state <> 'in_doubt'"


def note_ended(connection: Connection[Any], ended: Sequence[EndedCommand]) -> int:
    """Let commands have ended as their outcomes say; returns how many had not in the backup."""
    return connection.execute(_NOTE_ENDED, _ENDED.parameters(ended)).rowcount


def admit(connection: Connection[Any], admissions: Iterable[Admission]) -> int:
    """Admit commands that came after the backup and did not end; returns how many there are."""
    [[now]] = connection.execute("SELECT clock_timestamp()").fetchall()
    return admission.admit(connection, list(admissions), now).new


def put_in_doubt(connection: Connection[Any]) -> int:
    """Put every command in doubt that did not end, and return how many there are."""
    return connection.execute(_DOUBT, {"reason": DeliveryReason.WORKER_LOST.value}).rowcount


def waiting(connection: Connection[Any]) -> int:
    """How many commands have not ended and are not in doubt."""
    [[count]] = connection.execute(_WAITING).fetchall()
    return int(count)

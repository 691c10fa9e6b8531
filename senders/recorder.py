"""The recorder: decisions and outcomes from Kafka into the analysts' hypertables, each record one row.

Rows go by COPY into a staging table and from there to the hypertable, which passes over those it has already. An
outcome gets its command's trigger and purpose from the ledger, so that analysts need not join for the common question.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Message
from psycopg import Connection
from psycopg.types.json import Jsonb

from infra.kafka.batch_reader import BatchReader
from schemas import codec
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.topics import DECISIONS, OUTCOMES
from schemas.vocabulary import ENGAGEMENT, DecisionOutcome, OutcomeKind

_STAGING = """
CREATE TEMP TABLE IF NOT EXISTS new_decisions (LIKE decisions);
CREATE TEMP TABLE IF NOT EXISTS new_outcomes (
    id text, time timestamptz, command_id text, user_id text, kind text, provider text, code integer, enhanced text,
    reply text, classification text, hard boolean, classifier_hash text, attempt bigint, machine boolean, url text
);
TRUNCATE new_decisions, new_outcomes;
"""
_COPY_DECISIONS = """COPY new_decisions (id, time, trigger, rule_hash, user_id, occurrence, step, outcome, reason,
    command_id, event_ids, gates, inputs) FROM STDIN"""
_COPY_OUTCOMES = """COPY new_outcomes (id, time, command_id, user_id, kind, provider, code, enhanced, reply,
    classification, hard, classifier_hash, attempt, machine, url) FROM STDIN"""
_KEEP_DECISIONS = "INSERT INTO decisions SELECT * FROM new_decisions ON CONFLICT DO NOTHING"
_KEEP_DELIVERIES = """
INSERT INTO deliveries (id, time, command_id, user_id, trigger, purpose, kind, provider, code, enhanced, reply,
                        classification, hard, classifier_hash, attempt)
SELECT o.id, o.time, o.command_id, o.user_id, l.trigger, l.purpose, o.kind, o.provider, o.code, o.enhanced, o.reply,
       o.classification, o.hard, o.classifier_hash, o.attempt
FROM new_outcomes o LEFT JOIN ledger l USING (command_id) WHERE o.kind <> ALL(%s) ON CONFLICT DO NOTHING"""
_KEEP_ENGAGEMENT = """
INSERT INTO engagement (id, time, command_id, user_id, trigger, purpose, kind, provider, code, enhanced, reply,
                        classification, hard, classifier_hash, machine, url)
SELECT o.id, o.time, o.command_id, o.user_id, l.trigger, l.purpose, o.kind, o.provider, o.code, o.enhanced, o.reply,
       o.classification, o.hard, o.classifier_hash, o.machine, o.url
FROM new_outcomes o LEFT JOIN ledger l USING (command_id) WHERE o.kind = ANY(%s) ON CONFLICT DO NOTHING"""

Recorded = Decision | Outcome


class Recorder(BatchReader[Recorded]):
    """Writes `decisions`, `deliveries` and `engagement`."""

    group = "ebbtide-recorder"
    topics = (DECISIONS.name, OUTCOMES.name)

    def decode(self, record: Message) -> Recorded:
        """The decision or outcome; raises DecodeError."""
        if record.topic() == DECISIONS.name:
            return codec.decode(Decision, record.value())
        return codec.decode(Outcome, record.value())

    def write(self, connection: Connection[Any], items: Sequence[Recorded]) -> int:
        """Write facts that are not there yet. A fact is known by its id and time."""
        decisions = [item for item in items if isinstance(item, Decision)]
        outcomes = [item for item in items if isinstance(item, Outcome)]
        connection.execute(_STAGING)
        if decisions:
            _copy(connection, _COPY_DECISIONS, map(_decision_row, decisions))
            connection.execute(_KEEP_DECISIONS)
        if outcomes:
            engagement = [kind.value for kind in ENGAGEMENT]
            _copy(connection, _COPY_OUTCOMES, map(_outcome_row, outcomes))
            connection.execute(_KEEP_DELIVERIES, [engagement])
            connection.execute(_KEEP_ENGAGEMENT, [engagement])
        return 0

    def samples(self) -> Sequence[Recorded]:
        """A decision, an answer of delivery and an engagement that nobody made."""
        at = datetime.now(UTC)  # the hypertables then need no chunk of long ago
        decision = Decision(
            id="sample",
            trigger="sample",
            rule_hash="",
            user_id="sample",
            occurrence="",
            step="sample",
            outcome=DecisionOutcome.SEND,
            decided_at=at,
        )
        kinds = (OutcomeKind.ACCEPTED, OutcomeKind.CLICKED)
        return [decision, *(Outcome(id="sample", command_id="0", user_id="sample", kind=k, time=at) for k in kinds)]


def _copy(connection: Connection[Any], statement: str, rows: "map[tuple[Any, ...]]") -> None:
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _decision_row(decision: Decision) -> tuple[Any, ...]:
    return (
        decision.id,
        decision.decided_at,
        decision.trigger,
        decision.rule_hash,
        decision.user_id,
        decision.occurrence,
        decision.step,
        decision.outcome.value,
        decision.reason.value if decision.reason else None,
        decision.command_id,
        decision.event_ids,
        Jsonb([gate.model_dump(mode="json") for gate in decision.gates]),
        Jsonb(decision.inputs),
    )


def _outcome_row(outcome: Outcome) -> tuple[Any, ...]:
    reply = outcome.reply
    return (
        outcome.id,
        outcome.time,
        outcome.command_id,
        outcome.user_id,
        outcome.kind.value,
        outcome.provider,
        reply.code if reply else None,
        reply.enhanced if reply else None,
        reply.text if reply else None,
        outcome.classification,
        outcome.is_hard,
        outcome.classifier_hash,
        outcome.attempt,
        None if outcome.machine == "unknown" else outcome.machine,
        outcome.url,
    )

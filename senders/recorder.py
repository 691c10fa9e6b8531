"""The recorder: reads decisions and outcomes from Kafka into the analysts' hypertables, each record one row.

Rows are copied into a temporary table and inserted from there, except those that the hypertable has already. Outcomes
have their command's trigger and purpose, so that most questions of analysts need no join. Delivery and the bounce
listener say them; for the outcomes of others the ledger is asked, which may be in another database. It is never asked
within a transaction of the hypertables.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from threading import Event
from typing import Any

import psycopg
from confluent_kafka import Message
from psycopg import Connection
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from infra.kafka.batch_reader import BatchReader
from infra.kafka.connection import Connection as KafkaConnection
from infra.kafka.observer import ReaderObserver
from infra.postgres.columns import names, statement
from infra.postgres.database import Database
from infra.service.faults import Fault, describe, fault_of
from schemas import codec
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.topics import DECISIONS, OUTCOMES
from schemas.vocabulary import ENGAGEMENT, DecisionOutcome, OutcomeKind
from senders.queue.observer import LedgerObserver

Row = dict[str, Callable[[Any], Any]]
"""The columns of a table, and how each is read from the fact."""

_DECISION: Row = {
    "id": lambda decision: decision.id,
    "time": lambda decision: decision.decided_at,
    "trigger": lambda decision: decision.trigger,
    "rule_hash": lambda decision: decision.rule_hash,
    "user_id": lambda decision: decision.user_id,
    "occurrence": lambda decision: decision.occurrence,
    "step": lambda decision: decision.step,
    "outcome": lambda decision: decision.outcome.value,
    "reason": lambda decision: decision.reason and decision.reason.value,
    "command_id": lambda decision: decision.command_id,
    "event_ids": lambda decision: decision.event_ids,
    "gates": lambda decision: Jsonb([gate.model_dump(mode="json") for gate in decision.gates]),
    "inputs": lambda decision: Jsonb(decision.inputs),
}
_OUTCOME: Row = {
    "id": lambda outcome: outcome.id,
    "time": lambda outcome: outcome.time,
    "command_id": lambda outcome: outcome.command_id,
    "user_id": lambda outcome: outcome.user_id,
    "trigger": lambda outcome: outcome.trigger,
    "purpose": lambda outcome: outcome.purpose,
    "kind": lambda outcome: outcome.kind.value,
    "provider": lambda outcome: outcome.provider,
    "code": lambda outcome: outcome.reply and outcome.reply.code,
    "enhanced": lambda outcome: outcome.reply and outcome.reply.enhanced,
    "reply": lambda outcome: outcome.reply and outcome.reply.text,
    "classification": lambda outcome: outcome.classification,
    "hard": lambda outcome: outcome.is_hard,
    "classifier_hash": lambda outcome: outcome.classifier_hash,
}
_DELIVERY: Row = _OUTCOME | {"attempt": lambda outcome: outcome.attempt}
_ENGAGEMENT: Row = _OUTCOME | {
    "machine": lambda outcome: None if outcome.machine == "unknown" else outcome.machine,
    "url": lambda outcome: outcome.url,
}


class _Table:
    """A hypertable, the temporary table that rows are copied to, and the statements between them."""

    def __init__(self, name: str, row: Row) -> None:
        self._row = row
        parts = {"table": SQL(name), "new": SQL(f"new_{name}"), "columns": names(row)}
        self._empty = statement("CREATE TEMP TABLE IF NOT EXISTS {new} (LIKE {table}); TRUNCATE {new}", **parts)
        self._copy = statement("COPY {new} ({columns}) FROM STDIN", **parts)
        self._insert = statement(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM {new} ON CONFLICT DO NOTHING", **parts
        )

    def write(self, connection: Connection[Any], facts: Sequence[Decision | Outcome]) -> None:
        """Write the facts that are not there yet."""
        if not facts:
            return
        connection.execute(self._empty)
        with connection.cursor() as cursor, cursor.copy(self._copy) as copy:
            for fact in facts:
                copy.write_row([value(fact) for value in self._row.values()])
        connection.execute(self._insert)


_DECISIONS = _Table("decisions", _DECISION)
_DELIVERIES = _Table("deliveries", _DELIVERY)
_ENGAGEMENTS = _Table("engagement", _ENGAGEMENT)
_ORIGINS = """SELECT command_id, trigger, purpose FROM ledger
    WHERE key IN (SELECT ledger_key(id) FROM unnest(%s::text[]) AS id)"""

Recorded = Decision | Outcome

_REPORTS = frozenset({OutcomeKind.BOUNCED, OutcomeKind.COMPLAINED})
_WAYS = """
SELECT replace(o.command_id::text, '-', ''), coalesce(way.path::json ->> 'provider', '')
FROM ledger_outcomes AS o LEFT JOIN ledger_paths AS way ON way.number = o.path
WHERE o.command_id IN (SELECT ledger_key(id) FROM unnest(%s::text[]) AS id) AND o.state = 'accepted'
"""


class Recorder(BatchReader[Recorded]):
    """Writes `decisions`, `deliveries` and `engagement`."""

    group = "ebbtide-recorder"
    topics = (DECISIONS.name, OUTCOMES.name)
    gather_s = 0.5  # of 500 rows in a transaction, one costs a quarter of what it costs of 50

    def __init__(
        self,
        connection: KafkaConnection,
        database: Database,
        ledger: Database,
        halt: Event,
        session_timeout_ms: int = 10_000,
        instance: str | None = None,
        observer: ReaderObserver | None = None,
        ledger_observer: LedgerObserver | None = None,
    ) -> None:
        super().__init__(connection, database, halt, session_timeout_ms, instance, observer)
        self._ledger = ledger
        self._ledger_observer = LedgerObserver() if ledger_observer is None else ledger_observer

    def run(self) -> None:
        """Read until the process halts."""
        try:
            super().run()
        finally:
            self._ledger.close()

    def decode(self, record: Message) -> Recorded:
        """The decision or outcome; raises DecodeError."""
        if record.topic() == DECISIONS.name:
            return codec.decode(Decision, record.value())
        return codec.decode(Outcome, record.value())

    def write(self, connection: Connection[Any], items: Sequence[Recorded]) -> int:
        """Write the facts that are not there yet. A fact is identified by its id and time."""
        outcomes = [item for item in items if isinstance(item, Outcome)]
        _DECISIONS.write(connection, [item for item in items if isinstance(item, Decision)])
        _DELIVERIES.write(connection, [outcome for outcome in outcomes if outcome.kind not in ENGAGEMENT])
        _ENGAGEMENTS.write(connection, [outcome for outcome in outcomes if outcome.kind in ENGAGEMENT])
        return 0

    def written(self, items: Sequence[Recorded]) -> None:
        """Count the bounces and complaints among them, by provider if the ledger says now who took the mail."""
        reports = [item for item in items if isinstance(item, Outcome) and item.kind in _REPORTS]
        providers = self._providers([each.command_id for each in reports]) if reports else {}
        for each in reports:
            self._ledger_observer.reported(each.kind, providers.get(each.command_id, ""), each.purpose or "")

    def _providers(self, ids: Sequence[str]) -> dict[str, str]:
        """The provider of each command that the ledger knows. Nothing if it does not answer: only metrics need them."""
        try:
            rows = self._ledger.run(lambda connection: connection.execute(_WAYS, [ids]).fetchall(), patient=False)
        except psycopg.Error as error:
            if fault_of(error) is not Fault.SERVER:  # an outage has its own line
                self.log.warning("providers_not_read", error=describe(error))
            return {}
        return dict(rows)

    def prepared(self, items: Sequence[Recorded]) -> Sequence[Recorded]:
        """The facts, outcomes without a trigger with that of their command, if the ledger knows it."""
        missing = {item.command_id for item in items if isinstance(item, Outcome) and item.trigger is None}
        if not missing:
            return items
        rows = self._ledger.run(lambda connection: connection.execute(_ORIGINS, [list(missing)]).fetchall())
        origins = {command: {"trigger": trigger, "purpose": purpose} for command, trigger, purpose in rows}
        return [
            item.model_copy(update=origins.get(item.command_id))
            if isinstance(item, Outcome) and item.trigger is None
            else item
            for item in items
        ]

    def samples(self) -> Sequence[Recorded]:
        """A decision, an outcome of delivery and one of a reader, without a user or a rule."""
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
        kinds = (OutcomeKind.ACCEPTED, OutcomeKind.CLICKED, OutcomeKind.COMPLAINED)
        return [decision, *(Outcome(id="sample", command_id="0", user_id="sample", kind=k, time=at) for k in kinds)]

"""The recorder: reads decisions and outcomes from Kafka into the analysts' hypertables, each record one row.

Rows are copied into a temporary table and inserted from there, except those that the hypertable has already. The rows
that were new add to the rollups in the same transaction, so these count each fact once, whenever it comes and however
often. Outcomes have their command's trigger, purpose, step, variant and brand, so that most questions of analysts need
no join. Delivery, the bounce listener and the pages say them; for the outcomes of others the ledger is asked, which may
be in another database, and then `mails`. They are never asked within the transaction that writes.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from threading import Event
from typing import Any

import psycopg
from confluent_kafka import Message
from psycopg import Connection

from infra.kafka.batch_reader import BatchReader
from infra.kafka.connection import Connection as KafkaConnection
from infra.kafka.observer import ReaderObserver
from infra.postgres.database import Database
from infra.service.faults import Fault, describe, fault_of
from schemas import codec
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.people import NO_KEY, PersonHasher
from schemas.topics import DECISIONS, OUTCOMES
from schemas.vocabulary import ENGAGEMENT as OF_READERS
from schemas.vocabulary import DecisionOutcome, OutcomeKind
from senders.policy.erasures import KnownErasures
from senders.queue.observer import LedgerObserver
from senders.recording import tables
from senders.recording.hypertables import DECISIONS as DECISION_ROWS
from senders.recording.hypertables import DELIVERIES, ENGAGEMENT
from senders.recording.without_people import without_person

_IN_LEDGER = """SELECT command_id, trigger, purpose, step, variant, brand, decided_at FROM ledger
    WHERE key IN (SELECT ledger_key(id) FROM unnest(%s::text[]) AS id)"""
_IN_MAILS = """SELECT replace(command::text, '-', ''), trigger, nullif(purpose, ''), nullif(step, ''),
                      nullif(variant, ''), nullif(brand, ''), decided_at
    FROM mails WHERE command IN (SELECT ledger_key(id) FROM unnest(%s::text[]) AS id) AND trigger <> ''"""

_ORIGIN = ("trigger", "purpose", "step", "variant", "brand", "decided_at")

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
    batch = 5_000

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
        hasher: PersonHasher = NO_KEY,
    ) -> None:
        super().__init__(connection, database, halt, session_timeout_ms, instance, observer)
        self._ledger = ledger
        self._erasures = KnownErasures(ledger, hasher)
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
        tables.write(
            connection,
            {
                DECISION_ROWS: [item for item in items if isinstance(item, Decision)],
                DELIVERIES: [outcome for outcome in outcomes if outcome.kind not in OF_READERS],
                ENGAGEMENT: [outcome for outcome in outcomes if outcome.kind in OF_READERS],
            },
        )
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
        """The facts; outcomes that say no trigger with what the ledger or `mails` know of their commands; and those of
        erased people without what points to them."""
        if erased := self._erasures.among({item.user_id for item in items}):
            items = [without_person(item) if item.user_id in erased else item for item in items]
        missing = {item.command_id for item in items if isinstance(item, Outcome) and item.trigger is None}
        if not missing:
            return items
        origins = _origins(self._ledger, _IN_LEDGER, missing)
        if unknown := missing - origins.keys():
            origins |= _origins(self.database, _IN_MAILS, unknown)
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


def _origins(database: Database, query: str, commands: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """What a database knows of these commands."""
    rows = database.run(lambda connection: connection.execute(query.encode(), [list(commands)]).fetchall())
    return {command: dict(zip(_ORIGIN, values, strict=True)) for command, *values in rows}

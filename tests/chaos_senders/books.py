"""What a chaos run of delivery left behind, read back from topics, database and receiver."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import psycopg
from chaos_senders.endpoints import ReceivedCall, read_calls
from psycopg.rows import dict_row

from cli.rules.command_life import CommandLife
from cli.rules.command_life import read as read_life
from cli.rules.delivery_answers import Delivery, read_deliveries
from infra.kafka.topic_reader import read_all
from infra.local.sink_process import ProviderSink
from schemas.endpoints import WEBHOOK
from schemas.outcomes import outcome_id
from schemas.topics import COMMANDS, OUTCOMES
from schemas.vocabulary import OutcomeKind

CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Where a command stands."""

    command_id: str
    state: str
    reason: str | None
    attempt: int


@dataclass
class DeliveryBooks:
    """Everything that the verdict needs."""

    commands: Counter[str]
    """How often each command is on its topic."""
    ledger: list[LedgerRow]
    recorded: Counter[str]
    """The outcomes that the ledger has, by id."""
    outcomes: list[bytes]
    """The topic `outcomes`."""
    outbox: int
    deliveries: set[str]
    """The outcomes that the recorder wrote, by id."""
    mails: Counter[str]
    """How many mails of each command the receiver has."""
    webhooks: set[str] = field(default_factory=set)
    """The commands that call an endpoint."""
    calls: dict[str, list[ReceivedCall]] = field(default_factory=dict)
    """The requests that the endpoints have of each command."""
    explained: dict[str, Delivery] = field(default_factory=dict)
    """What `explain` reads of each command."""
    lives: list[CommandLife] = field(default_factory=list)
    """What `explain command` reads of one command of each kind."""


def read_books(kafka: str, database_url: str, sink: ProviderSink, calls: Path) -> DeliveryBooks:
    """Reads all of it. `calls` is the file of the endpoints' receiver."""
    published = [orjson.loads(message.value() or b"") for message in read_all(kafka, COMMANDS.name)]
    webhooks = {command["id"] for command in published if command["channel"] == WEBHOOK}
    with psycopg.connect(database_url) as connection:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]

        ledger = [LedgerRow(*row) for row in rows("SELECT command_id, state, reason, attempt FROM ledger")]
        recorded = rows("SELECT replace(command_id::text, '-', ''), state, attempt FROM ledger_outcomes")
        books = DeliveryBooks(
            commands=Counter(command["id"] for command in published),
            ledger=ledger,
            recorded=Counter(outcome_id(id_, OutcomeKind(state), attempt) for id_, state, attempt in recorded),
            outcomes=[message.value() or b"" for message in read_all(kafka, OUTCOMES.name)],
            outbox=int(rows("SELECT count(*) FROM ledger_outbox")[0][0]),
            deliveries={id_ for (id_,) in rows("SELECT id FROM deliveries")},
            mails=Counter(each.command for each in sink.receipts() if each.what == "mail" and each.kept),
            webhooks=webhooks,
            calls=read_calls(calls),
        )
    books.explained = dict(_explained(database_url, [row.command_id for row in ledger]))
    kinds = {(row.command_id in webhooks, row.state, row.reason, row.attempt): row.command_id for row in ledger}
    books.lives = [read_life(database_url, database_url, command_id) for command_id in kinds.values()]
    return books


def _explained(database_url: str, ids: Sequence[str]) -> Iterator[tuple[str, Delivery]]:
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        for at in range(0, len(ids), CHUNK):
            yield from read_deliveries(connection, connection, ids[at : at + CHUNK]).items()

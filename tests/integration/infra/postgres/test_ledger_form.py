"""The migration of the ledger to its form of queue, outcomes and ids, with rows in every state."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from drivers.earlier_migrations import migrate_before
from drivers.running_senders import a_command
from psycopg import AsyncConnection, Connection
from psycopg.types.json import Jsonb

from infra.postgres.migrate import migrate
from schemas.outcomes import Reply
from schemas.vocabulary import LedgerState
from senders.queue import leases, ledger, outbox
from senders.queue.due_order import BEGINNING
from senders.queue.ledger import Admission

pytestmark = pytest.mark.servers

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=40)
REPLY = {"code": 451, "enhanced": "4.7.1", "text": "try again later"}
LAST = frozenset(state for state in LedgerState if state.terminal)


def insert(connection: Connection[Any], state: LedgerState, *, unpublished: bool, at: datetime) -> str:
    command = a_command("u1", "h", priority=70)
    due = at + timedelta(minutes=1) if state in (LedgerState.ADMITTED, LedgerState.DEFERRED) else None
    connection.execute(
        """INSERT INTO ledger (command_id, partition, user_id, trigger, purpose, command, state, reason, attempt,
                               admitted_at, started_at, state_at, next_attempt_at, owner, message_id, address_hash,
                               reply, unpublished)
           VALUES (%s, 3, 'u1', 'hello', 'marketing', %s, %s, 'a reason', 1,
                   %s, %s, %s, %s, 'gone', '<m>', 'hash', %s, %s)""",
        [command.id, Jsonb(command.model_dump(mode="json")), state, at, at, at, due, Jsonb(REPLY), unpublished],
    )
    return command.id


async def test_every_command_keeps_its_state_and_every_unpublished_outcome_its_place(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    migrate_before("0012", empty_database_url, monkeypatch, tmp_path)
    states: dict[str, LedgerState] = {}
    waiting_outcomes: list[tuple[str, str]] = []
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        for state in LedgerState:
            for unpublished in (
                (False, True) if state in LAST | {LedgerState.DEFERRED, LedgerState.IN_DOUBT} else (False,)
            ):
                for at in (LONG_AGO, NOW):
                    id_ = insert(connection, state, unpublished=unpublished, at=at)
                    states[id_] = state
                    if unpublished:
                        waiting_outcomes.append((id_, state.value))
        columns = "command_id, state, reason, attempt, admitted_at, state_at, next_attempt_at, address_hash, reply"
        rows = connection.execute(f"SELECT {columns} FROM ledger ORDER BY 1").fetchall()
        assert migrate(empty_database_url)[0] == "0012_ledger_form"
        assert connection.execute(f"SELECT {columns} FROM ledger ORDER BY 1").fetchall() == rows
        known = [Admission.of(3, a_command("u1", "h", id=id_)) for id_ in states]
        assert ledger.admit(connection, known, NOW) == 0, "each id is known"
    async with await AsyncConnection.connect(empty_database_url, autocommit=True) as connection_:
        published = await outbox.unpublished_rows(connection_, [3], 1000)
        assert sorted((row.command_id, row.state) for row in published) == sorted(waiting_outcomes)
        assert {message.reply for row in published if (message := row.message().outcome)} == {Reply(**REPLY)}
        classes = await ledger.queue_classes(connection_, [3])
        after = dict.fromkeys(classes, BEGINNING)
        due = await ledger.due_commands(connection_, after, [], NOW + timedelta(hours=1), 1000)
        expected = {id_ for id_, state in states.items() if state in (LedgerState.ADMITTED, LedgerState.DEFERRED)}
        assert {status.command_id for status in due} == expected
        assert {found.command.priority for found in await ledger.read_commands(connection_, due)} == {70}
        started = sum(state is LedgerState.STARTED for state in states.values())
        lost = await leases.lost_workers(connection_, "ours", timedelta(seconds=15))
        assert lost is not None
        assert await leases.mark_in_doubt(connection_, lost, []) == (started, None), "their workers had no leases"

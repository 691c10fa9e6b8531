"""Budgets on a real PostgreSQL: exact over transactions at once, and what they hold waits for a person."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from psycopg import AsyncConnection, Connection

from schemas.budgets import Budget
from schemas.commands import DEFAULT_PRIORITY, SendCommand
from schemas.vocabulary import SuppressionReason
from senders.queue import admission, held_commands, ledger
from senders.queue.admission import AdmittedBatch
from senders.queue.due_order import BEGINNING
from senders.queue.ledger import Admission, QueueClass

pytestmark = pytest.mark.servers

HOUR_MS = 3_600_000
RULE = Budget(name="trigger/hello", max=3, per_ms=HOUR_MS)
POLICY = Budget(name="policy/brake", max=4, unit="day", zone="Europe/Berlin")


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as open_connection:
        yield open_connection


def commands(count: int, *budgets: Budget) -> list[SendCommand]:
    return [a_command(f"user-{number}", "t", budgets=budgets or None) for number in range(count)]


def admit(connection: Connection[Any], made: list[SendCommand]) -> AdmittedBatch:
    with connection.transaction():
        return admission.admit(connection, [Admission.of(0, each) for each in made], datetime.now(UTC))


def waiting(connection: Connection[Any]) -> dict[str, str | None]:
    """What each command waits for, by id: the budget's name, or None."""
    rows = connection.execute("SELECT command_id, reason, detail FROM ledger_queue").fetchall()
    assert {reason for _, reason, _ in rows} <= {None, "budget"}
    return {key.hex: detail for key, _, detail in rows}


def test_what_exceeds_a_budget_waits_for_a_person_and_is_not_due(connection: Connection[Any]) -> None:
    made = commands(5, RULE)
    batch = admit(connection, made)
    assert (batch.new, batch.held, [each.budget.name for each in batch.told]) == (5, {RULE.name: 2}, [RULE.name])
    assert waiting(connection) == {
        **{each.id: None for each in made[:3]},
        **{each.id: RULE.name for each in made[3:]},
    }
    rows = connection.execute("SELECT next_attempt_at FROM ledger_queue WHERE reason = 'budget'").fetchall()
    assert {at for (at,) in rows} == {each.expires_at for each in made[3:]}


def test_a_repeated_command_counts_once_and_a_full_budget_is_told_of_once(connection: Connection[Any]) -> None:
    made = commands(3, RULE)
    assert admit(connection, made).new == 3
    assert admit(connection, [*made, *made]) == AdmittedBatch(0)
    more = commands(1, RULE)
    assert len(admit(connection, more).told) == 1
    assert admit(connection, commands(2, RULE)).told == ()
    assert admit(connection, [*made, *more]) == AdmittedBatch(0)
    assert len(waiting(connection)) == 6


def test_a_command_with_several_budgets_counts_in_all_or_in_none(connection: Connection[Any]) -> None:
    both = commands(5, RULE, POLICY)
    assert admit(connection, both).held == {RULE.name: 2}
    alone = commands(3, POLICY)
    assert admit(connection, alone).held == {POLICY.name: 2}
    found = waiting(connection)
    assert [found[each.id] for each in both] == [None, None, None, RULE.name, RULE.name]
    assert [found[each.id] for each in alone] == [None, POLICY.name, POLICY.name]


def test_a_command_obeys_the_maximum_that_it_brings(connection: Connection[Any]) -> None:
    admit(connection, commands(3, RULE))
    raised = RULE.model_copy(update={"max": 5})
    assert admit(connection, commands(3, raised)).held == {RULE.name: 1}


def test_commands_without_a_budget_pass_beside_those_with_one(connection: Connection[Any]) -> None:
    batch = admit(connection, [*commands(4), *commands(4, RULE), *commands(4)])
    assert (batch.new, batch.held) == (12, {RULE.name: 1})
    assert admit(connection, commands(2)) == AdmittedBatch(2)


def test_what_is_rolled_back_was_never_counted(connection: Connection[Any]) -> None:
    made = commands(3, RULE)
    with connection.transaction(force_rollback=True):
        assert admission.admit(connection, [Admission.of(0, each) for each in made], datetime.now(UTC)).new == 3
    assert admit(connection, made).held == {}


def test_workers_at_once_never_let_more_through_than_the_budget(database_url: str) -> None:
    """Each admits batches in transactions of its own, some of which it gives up; the same commands come to several."""
    budget = Budget(name="trigger/hello", max=100, per_ms=HOUR_MS)
    made = commands(400, budget, POLICY.model_copy(update={"max": 90}))
    together = threading.Barrier(4)

    def work(number: int) -> None:
        with psycopg.connect(database_url, autocommit=True) as own:
            together.wait()
            for start in range(0, 400, 20):
                batch = made[(start + 100 * number) % 400 :][:20]
                if start % 60 == 0:
                    with own.transaction(force_rollback=True):
                        admission.admit(own, [Admission.of(0, each) for each in batch], datetime.now(UTC))
                while True:
                    try:
                        admit(own, batch)
                        break
                    except psycopg.errors.DeadlockDetected:
                        continue  # as `Database.run` does: the same command in two workers, each behind the other

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    with psycopg.connect(database_url) as own:
        found = waiting(own)
    assert len(found) == 400
    assert sum(detail is None for detail in found.values()) == 90
    assert {detail for detail in found.values() if detail} == {POLICY.name}


async def test_a_person_releases_the_oldest_and_discards_the_rest(
    connection: Connection[Any], database_url: str
) -> None:
    made = commands(9, RULE)
    for each in made:
        admit(connection, [each])
    async with await AsyncConnection.connect(database_url, autocommit=True) as own:
        [(name, held)] = (await held_commands.held(own)).items()
        assert (name, held.count, held.expires_at) == (RULE.name, 6, min(each.expires_at for each in made[3:]))
        assert await held_commands.held(own, [1, 2]) == {}
        ids = await held_commands.find(own, RULE.name, 2)
        assert ids == [each.id for each in made[3:5]]
        assert [count async for count in held_commands.release(own, ids)] == [2]
        assert [count async for count in held_commands.release(own, ids)] == [0]
        due = await ledger.due_commands(
            own, {QueueClass(0, DEFAULT_PRIORITY): BEGINNING}, [], datetime.now(UTC) + timedelta(seconds=5), 50
        )
        assert {each.command_id for each in due} == {each.id for each in made[:5]}
        rest = await held_commands.find(own, RULE.name, None)
        assert [count async for count in held_commands.discard(own, rest, "budget trigger/hello")] == [4]
        assert await held_commands.held(own) == {}
        [status] = await held_commands.budgets(own)
    assert (status.used, status.max, status.held_in_all) == (3, 3, 6)
    ended = connection.execute("SELECT DISTINCT state, reason, detail FROM ledger_outcomes").fetchall()
    assert ended == [("suppressed", SuppressionReason.DISCARDED, "budget trigger/hello")]
    balance = connection.execute("SELECT commands, terminal, waiting, in_doubt FROM v_delivery_balance").fetchall()
    assert balance == [(9, 4, 5, 0)]


def test_a_released_command_counts_in_no_window(connection: Connection[Any]) -> None:
    admit(connection, commands(4, RULE))
    before = connection.execute("SELECT counts FROM ledger_budgets").fetchall()
    connection.execute("UPDATE ledger_queue SET reason = NULL, detail = NULL WHERE reason = 'budget'")
    assert admit(connection, commands(1, RULE)).held == {RULE.name: 1}
    assert connection.execute("SELECT counts FROM ledger_budgets").fetchall() == before


@pytest.mark.parametrize("budget", [RULE, POLICY])
def test_the_budget_of_a_row_is_read_back(budget: Budget) -> None:
    assert held_commands.budget_of(budget.name, budget.window, budget.max) == budget

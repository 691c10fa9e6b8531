"""A worker that reads a line behind what it has read misses no row: a model of joins, ends and releases."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from drivers.running_senders import a_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import AsyncConnection

from schemas.vocabulary import DeliveryReason, LedgerState
from senders.delivery.lane_lines import LaneLines, Line
from senders.queue import ledger, lines, transitions
from senders.queue.ledger import Admission, DueCommand
from senders.queue.lines import line_of
from senders.queue.transitions import StateChange

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
EXPIRES = NOW + timedelta(days=1)
NUMBERS = itertools.count()
Place = tuple[int, datetime]
"""Where a command stands in its line: the priority, negated, and when it was admitted."""

PRIORITIES, AGES_S = st.sampled_from([10, 50, 90]), st.integers(0, 9)
ACTIONS = st.one_of(
    st.tuples(st.just("join"), PRIORITIES, AGES_S),
    st.tuples(st.just("stand"), PRIORITIES, AGES_S),
    st.tuples(st.just("take"), st.integers(1, 3)),
    st.tuples(st.just("end")),
    st.tuples(st.just("let_go")),
    st.tuples(st.just("minute")),
)


class LineModel:
    """One line of its own in the ledger, the worker that reads it, and what should stand there."""

    def __init__(self, url: str, connection: AsyncConnection[Any]) -> None:
        self._url = url
        self._connection = connection
        self._name = f"line {next(NUMBERS)}"
        self._line = line_of(self._name)
        self._worker = LaneLines(lambda _: None, lambda _: None, lambda _: 0)
        self._count = itertools.count()
        self._standing: dict[str, tuple[Place, DueCommand]] = {}
        self._unseen: set[str] = set()
        """Those of which nobody told the worker, who has not begun again since."""
        self._in_hand: list[str] = []

    async def join(self, priority: int, age_s: int) -> None:
        """The worker lets a command wait in the line."""
        self._worker.join(self._name, Line(), await self._stand(priority, age_s))

    async def stand(self, priority: int, age_s: int) -> None:
        """Another program does."""
        self._unseen.add((await self._stand(priority, age_s)).command.id)

    async def take(self, room: int) -> None:
        """Read the head of the line: whatever the worker knows comes in order."""
        found = await lines.heads(self._connection, self._worker.order, [0], {self._line: room}, self._in_hand)
        taken = [status.command_id for _, status in found]
        assert taken == sorted(taken, key=lambda id_: self._standing[id_][0])
        waiting = self._standing.keys() - self._unseen - set(self._in_hand)
        known = [id_ for id_ in taken if id_ in waiting]
        assert known == sorted(waiting, key=lambda id_: self._standing[id_][0])[: len(known)]
        assert len(taken) == room or len(known) == len(waiting)
        self._worker.order.read(found)
        self._in_hand += taken

    async def end(self) -> None:
        """What was taken gets its last answer."""
        changes = [StateChange(id_, 0, LedgerState.EXPIRED, NOW) for id_ in self._in_hand]
        await transitions.settle(self._connection, changes)
        for command_id in self._in_hand:
            del self._standing[command_id]
            self._unseen.discard(command_id)
        self._in_hand = []

    async def let_go(self) -> None:
        """What was taken gets none, and stands as before."""
        for command_id in self._in_hand:
            self._worker.let_go(self._standing[command_id][1])
            self._unseen.discard(command_id)
        self._in_hand = []

    async def minute(self) -> None:
        """The scheduler has looked for lines."""
        self._worker.order.begin_again()
        self._unseen.clear()

    async def _stand(self, priority: int, age_s: int) -> DueCommand:
        command = a_command("u1", "h", priority=priority)
        admitted_at = NOW - timedelta(seconds=age_s, milliseconds=next(self._count))
        with psycopg.connect(self._url, autocommit=True) as intake:
            ledger.admit(intake, [Admission.of(0, command)], NOW)
        waits = StateChange(
            command.id, 0, LedgerState.ADMITTED, NOW, DeliveryReason.LIMITED, next_attempt_at=EXPIRES, behind=self._line
        )
        await self._connection.execute(
            "UPDATE ledger_queue SET admitted_at = %s WHERE command_id = %s", [admitted_at, command.id]
        )
        await transitions.postpone(self._connection, [waits])
        due = DueCommand(command, 0, LedgerState.ADMITTED, 0, admitted_at, admitted_at, behind=self._line)
        self._standing[command.id] = (-priority, admitted_at), due
        return due


def test_whatever_joins_ends_or_is_let_go_the_head_comes_next_and_a_strangers_row_within_a_minute(
    database_url: str,
) -> None:
    @settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(ACTIONS, max_size=25))
    def check(actions: list[tuple[Any, ...]]) -> None:
        asyncio.run(run(actions))

    async def run(actions: list[tuple[Any, ...]]) -> None:
        async with await AsyncConnection.connect(database_url, autocommit=True) as connection:
            model = LineModel(database_url, connection)
            for name, *arguments in [*actions, ("let_go",), ("minute",), ("take", 99)]:
                await getattr(model, name)(*arguments)

    check()

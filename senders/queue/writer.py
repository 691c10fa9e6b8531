"""Group commit for the ledger: changes that many lanes make at the same moment go into one transaction.

A row that cannot be written fails alone. Before that it is written once more without the text of others (a server's
reply, a detail), because no other value in it comes from outside.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import structlog
from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.faults import Fault, describe, fault_of
from infra.service.watchdog import Watchdog
from schemas.vocabulary import LedgerState
from senders.queue import transitions
from senders.queue.observer import LedgerObserver
from senders.queue.transitions import AttemptStart, StateChange

GATHER_S = 0.002
"""How long the first change waits for others. A transaction costs the loop about a millisecond. A mail waits twice."""

_Kind = Literal["begin", "answer", "take_back", "settle", "postpone"]


class RowRefused(ValueError):
    """One row of the ledger cannot be written, although others can. The message says why, without its values."""


@dataclass(slots=True)
class _PendingWrite:
    kind: _Kind
    row: AttemptStart | StateChange
    done: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def command_id(self) -> str:
        return self.row.due.command.id if isinstance(self.row, AttemptStart) else self.row.command_id

    def drop_text(self) -> bool:
        """Leave out the text of others. Returns whether there was any."""
        if isinstance(self.row, AttemptStart) or (self.row.detail is None and self.row.reply is None):
            return False
        reply = self.row.reply and self.row.reply.model_copy(update={"text": "", "enhanced": None})
        has_text = self.row.detail is not None or reply != self.row.reply
        self.row = replace(self.row, detail=None, reply=reply)
        return has_text


class LedgerWriter:
    """Each method returns once its change is durable: True if it was made, False if the command's state has changed.

    `begin`, `answer` and `take_back` raise RowRefused if the row is at fault.
    """

    def __init__(
        self,
        database: AsyncDatabase,
        owner: str,
        watchdog: Watchdog | None = None,
        observer: LedgerObserver | None = None,
    ) -> None:
        self._watchdog = Watchdog() if watchdog is None else watchdog
        self._observer = LedgerObserver() if observer is None else observer
        self._database = database
        self._owner = owner
        self._pending: asyncio.Queue[_PendingWrite] = asyncio.Queue()
        self._log = structlog.get_logger("senders.queue.writer")

    async def begin(self, start: AttemptStart) -> bool:
        """Make `started` durable."""
        with self._watchdog.rest():  # `run` is watched instead
            return await self._write("begin", start)

    async def answer(self, change: StateChange) -> bool:
        """Record the answer of a mail transaction."""
        with self._watchdog.rest():
            return await self._write("answer", change)

    async def take_back(self, change: StateChange) -> bool:
        """Undo an attempt that reached no server."""
        with self._watchdog.rest():
            return await self._write("take_back", change)

    async def settle(self, changes: Sequence[StateChange]) -> frozenset[str]:
        """Record final answers without a mail transaction. Returns the ids of commands whose row is at fault."""
        return await self._write_all("settle", changes)

    async def postpone(self, changes: Sequence[StateChange]) -> frozenset[str]:
        """Record what commands wait for. Returns the ids of commands whose row is at fault."""
        return await self._write_all("postpone", changes)

    async def _write_all(self, kind: _Kind, changes: Sequence[StateChange]) -> frozenset[str]:
        with self._watchdog.rest():
            results = await asyncio.gather(*(self._write(kind, change) for change in changes), return_exceptions=True)
        refused = set()
        for change, result in zip(changes, results, strict=True):
            if isinstance(result, RowRefused):
                refused.add(change.command_id)
            elif isinstance(result, BaseException):
                raise result
        return frozenset(refused)

    async def _write(self, kind: _Kind, row: AttemptStart | StateChange) -> bool:
        pending = _PendingWrite(kind, row)
        self._pending.put_nowait(pending)
        return await pending.done

    async def run(self) -> None:
        """Write pending changes, until cancelled."""
        while True:
            await self.write_once()

    async def write_once(self) -> None:
        """Write the pending changes in one transaction. The next one takes all changes that came meanwhile."""
        with self._watchdog.rest():
            group = [await self._pending.get()]
        await asyncio.sleep(GATHER_S)
        while not self._pending.empty():
            group.append(self._pending.get_nowait())
        await self._store(group)

    async def _store(self, group: list[_PendingWrite]) -> None:
        """Write a group. If that fails, write its halves, down to the row that fails alone."""
        try:
            made = await self._database.run(lambda connection: self._apply(connection, group))
        except Exception as error:  # noqa: BLE001  # `_refuse` raises what is not the row's fault
            if len(group) == 1:
                await self._refuse(group[0], error)
                return
            middle = len(group) // 2
            await self._store(group[:middle])
            await self._store(group[middle:])
        else:
            for pending in group:
                row = pending.row
                if isinstance(row, StateChange) and pending.command_id in made[pending.kind]:
                    self._report(pending.kind, row.state, row.reason)
                if not pending.done.done():
                    pending.done.set_result(pending.command_id in made[pending.kind])

    def _report(self, kind: _Kind, state: LedgerState, reason: str | None) -> None:
        match kind:
            case "answer":
                self._observer.answered(state, reason)
            case "take_back":
                self._observer.taken_back()
            case "settle":
                self._observer.settled(state, reason)
            case "postpone":
                self._observer.postponed(reason)

    async def _refuse(self, pending: _PendingWrite, error: Exception) -> None:
        """Fail a row that cannot be written even alone. Raises `error` if no row at all can be written."""
        if fault_of(error) is not Fault.ITEM:
            try:
                await self._database.run(lambda connection: self._apply(connection, []))
            except Exception as failure:
                raise error from failure
        self._log.error("ledger_row_refused", command_id=pending.command_id, kind=pending.kind, error=describe(error))
        if pending.drop_text():
            await self._store([pending])
        elif not pending.done.done():
            pending.done.set_exception(RowRefused(describe(error)))

    async def _apply(self, connection: AsyncConnection[Any], group: list[_PendingWrite]) -> dict[_Kind, set[str]]:
        """Make the changes. An empty group tries each statement without a row."""
        starts = [pending.row for pending in group if isinstance(pending.row, AttemptStart)]
        changes: dict[_Kind, list[StateChange]] = {"answer": [], "take_back": [], "settle": [], "postpone": []}
        for pending in group:
            if isinstance(pending.row, StateChange):
                changes[pending.kind].append(pending.row)

        def needed(rows: Sequence[object]) -> bool:
            return bool(rows) or not group

        made: dict[_Kind, set[str]] = {kind: set() for kind in get_args(_Kind)}
        if needed(starts):
            made["begin"] = await transitions.begin(connection, starts, self._owner)
        if needed(changes["answer"]):
            made["answer"] = await transitions.answer(connection, changes["answer"], self._owner)
        if needed(changes["take_back"]):
            made["take_back"] = await transitions.take_back(connection, changes["take_back"], self._owner)
        if needed(changes["settle"]):
            made["settle"] = await transitions.settle(connection, changes["settle"])
        if needed(changes["postpone"]):
            made["postpone"] = await transitions.postpone(connection, changes["postpone"])
        return made

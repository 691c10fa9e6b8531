"""Group commit for the ledger: what many deliveries want written at the same moment goes in one transaction.

A row that cannot be written fails alone. It is written without what others have said (a server's reply, a detail)
before it is given up, because those are the only values in it that we did not make.
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
from senders.queue import ledger
from senders.queue.ledger import Start, StateChange
from senders.queue.observer import LedgerObserver

GATHER_S = 0.002
"""How long the first change waits for company. A transaction costs the loop about a millisecond, a mail waits twice."""

_Kind = Literal["begin", "answer", "take_back", "settle", "postpone"]


class RowRefused(ValueError):
    """A row of the ledger cannot be written, though others can; the message says why, without its values."""


@dataclass(slots=True)
class _Wanted:
    kind: _Kind
    row: Start | StateChange
    done: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def command_id(self) -> str:
        return self.row.due.command.id if isinstance(self.row, Start) else self.row.command_id

    def bare(self) -> bool:
        """Whether there was something that could be left out, and now is."""
        if isinstance(self.row, Start) or (self.row.detail is None and self.row.reply is None):
            return False
        reply = self.row.reply and self.row.reply.model_copy(update={"text": "", "enhanced": None})
        has_text = self.row.detail is not None or reply != self.row.reply
        self.row = replace(self.row, detail=None, reply=reply)
        return has_text


class LedgerWriter:
    """Each method returns once its change is durable: True if it was made, False if the command had moved on.

    `begin`, `answer` and `take_back` raise RowRefused where this row is at fault.
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
        self._wanted: asyncio.Queue[_Wanted] = asyncio.Queue()
        self._log = structlog.get_logger("senders.queue.writer")

    async def begin(self, start: Start) -> bool:
        """Make `started` durable."""
        with self._watchdog.rest():  # `run` is watched instead
            return await self._write("begin", start)

    async def answer(self, change: StateChange) -> bool:
        """Record what a mail transaction came to."""
        with self._watchdog.rest():
            return await self._write("answer", change)

    async def take_back(self, change: StateChange) -> bool:
        """Undo an attempt of which the server took nothing."""
        with self._watchdog.rest():
            return await self._write("take_back", change)

    async def settle(self, changes: Sequence[StateChange]) -> frozenset[str]:
        """Record final answers without a mail. Returns the commands whose row is at fault, instead of raising."""
        return await self._write_all("settle", changes)

    async def postpone(self, changes: Sequence[StateChange]) -> frozenset[str]:
        """Let commands wait. Returns the commands whose row is at fault, instead of raising."""
        return await self._write_all("postpone", changes)

    async def _write_all(self, kind: _Kind, changes: Sequence[StateChange]) -> frozenset[str]:
        with self._watchdog.rest():
            ends = await asyncio.gather(*(self._write(kind, change) for change in changes), return_exceptions=True)
        refused = set()
        for change, end in zip(changes, ends, strict=True):
            if isinstance(end, RowRefused):
                refused.add(change.command_id)
            elif isinstance(end, BaseException):
                raise end
        return frozenset(refused)

    async def _write(self, kind: _Kind, row: Start | StateChange) -> bool:
        wanted = _Wanted(kind, row)
        self._wanted.put_nowait(wanted)
        return await wanted.done

    async def run(self) -> None:
        """Write what is wanted, for ever."""
        while True:
            await self.write_once()

    async def write_once(self) -> None:
        """Write what is wanted. One transaction at a time; the next takes all that came meanwhile."""
        with self._watchdog.rest():
            group = [await self._wanted.get()]
        await asyncio.sleep(GATHER_S)
        while not self._wanted.empty():
            group.append(self._wanted.get_nowait())
        await self._store(group)

    async def _store(self, group: list[_Wanted]) -> None:
        """Write a group; halve it where that fails, until the culprit stands alone."""
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
            for wanted in group:
                row = wanted.row
                if isinstance(row, StateChange) and wanted.command_id in made[wanted.kind]:
                    self._report(wanted.kind, row.state, row.reason)
                if not wanted.done.done():
                    wanted.done.set_result(wanted.command_id in made[wanted.kind])

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

    async def _refuse(self, wanted: _Wanted, error: Exception) -> None:
        """Fail a row that cannot be written even alone. Raises `error` where no row at all can be written."""
        if fault_of(error) is not Fault.ITEM:
            try:
                await self._database.run(lambda connection: self._apply(connection, []))
            except Exception as failure:
                raise error from failure
        self._log.error("ledger_row_refused", command_id=wanted.command_id, kind=wanted.kind, error=describe(error))
        if wanted.bare():
            await self._store([wanted])
        elif not wanted.done.done():
            wanted.done.set_exception(RowRefused(describe(error)))

    async def _apply(self, connection: AsyncConnection[Any], group: list[_Wanted]) -> dict[_Kind, set[str]]:
        """Make the changes; an empty group tries each statement without a row."""
        starts = [wanted.row for wanted in group if isinstance(wanted.row, Start)]
        changes: dict[_Kind, list[StateChange]] = {"answer": [], "take_back": [], "settle": [], "postpone": []}
        for wanted in group:
            if isinstance(wanted.row, StateChange):
                changes[wanted.kind].append(wanted.row)

        def asked(rows: Sequence[object]) -> bool:
            return bool(rows) or not group

        made: dict[_Kind, set[str]] = {kind: set() for kind in get_args(_Kind)}
        if asked(starts):
            made["begin"] = await ledger.begin(connection, starts, self._owner)
        if asked(changes["answer"]):
            made["answer"] = await ledger.answer(connection, changes["answer"], self._owner)
        if asked(changes["take_back"]):
            made["take_back"] = await ledger.take_back(connection, changes["take_back"], self._owner)
        if asked(changes["settle"]):
            made["settle"] = await ledger.settle(connection, changes["settle"])
        if asked(changes["postpone"]):
            made["postpone"] = await ledger.postpone(connection, changes["postpone"])
        return made

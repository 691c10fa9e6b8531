"""Group commit for the ledger: changes that many lanes make at the same moment go into one transaction.

A row that cannot be written fails alone. Before that it is written once more without the text of others (a server's
reply, a detail), because no other value in it comes from outside.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

import structlog
from psycopg import AsyncConnection, AsyncCursor
from psycopg.errors import QueryCanceled

from infra.postgres.database import AsyncDatabase
from infra.service.faults import Fault, describe, fault_of
from infra.service.watchdog import Watchdog
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.queue import attempt_paths, link_targets, transitions
from senders.queue.link_targets import KnownLinks
from senders.queue.observer import LedgerObserver
from senders.queue.transitions import AttemptStart, StateChange

GATHER_S, LONGEST_GATHER_S = 0.002, 0.01
"""How long the first change waits for others: as long as the last transaction took, within these bounds. So under load
twice as many share one, which costs the loop a millisecond and PostgreSQL as much. A mail waits twice."""
TIMEOUTS = 5
"""How often a row is written anew that timed out alone. A row that always does would hold up all others for ever."""

_Kind = Literal["begin", "answer", "take_back", "settle", "postpone"]
StartCheck = Callable[[AsyncConnection[Any], Sequence[AttemptStart]], Awaitable[Mapping[str, StateChange]]]
"""Which starts must not be made, by command, and what their rows say instead. Asked where `started` is written."""


class Begin(StrEnum):
    """What became of a start."""

    MADE = "made"
    REFUSED = "refused"
    """The row has an answer instead, and no attempt is counted."""
    PAUSED = "paused"
    """Refused because a switch holds the command."""
    ELSEWHERE = "elsewhere"
    """Another worker has begun or ended the command meanwhile."""


class RowRefused(ValueError):
    """One row of the ledger cannot be written, although others can. The message says why, without its values."""


@dataclass(slots=True)
class _PendingWrite:
    kind: _Kind
    row: AttemptStart | StateChange
    done: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    refusal: StateChange | None = None
    timed_out: int = 0
    """How often PostgreSQL took longer for this row alone than a statement may."""

    @property
    def command_id(self) -> str:
        return self.row.due.command.id if isinstance(self.row, AttemptStart) else self.row.command_id

    @property
    def written_kind(self) -> _Kind:
        """The change that is written: for a refused start, that of its answer."""
        if self.refusal is None or not isinstance(self.row, AttemptStart):
            return self.kind
        return "postpone" if self.refusal.state == self.row.due.state else "settle"

    def drop_text(self) -> bool:
        """Leave out the text of others. Returns whether there was any."""
        if isinstance(self.row, AttemptStart):
            return False
        reply = self.row.reply and self.row.reply.model_copy(update={"text": "", "enhanced": None})
        without = replace(self.row, detail=None, reply=reply, path=None)
        has_text, self.row = without != self.row, without
        return has_text


@dataclass(slots=True)
class _WrittenGroup:
    """What a transaction has made: the ids of its changes by kind, and what is read of it once it is committed."""

    made: dict[_Kind, set[str]] = field(default_factory=dict)
    links: Mapping[bytes, str] = field(default_factory=dict)
    """Those that it has stored."""
    begun: Sequence[AsyncCursor[tuple[UUID]]] = ()
    answers: Sequence[StateChange] = ()
    answered: Sequence[AsyncCursor[tuple[UUID]]] = ()


class LedgerWriter:
    """Each method returns once its change is durable: True if it was made, False if the command's state has changed.

    `begin`, `answer` and `take_back` raise RowRefused if the row is at fault.
    """

    def __init__(
        self,
        database: AsyncDatabase,
        owner: str,
        check: StartCheck,
        watchdog: Watchdog | None = None,
        observer: LedgerObserver | None = None,
    ) -> None:
        self._watchdog = Watchdog() if watchdog is None else watchdog
        self._observer = LedgerObserver() if observer is None else observer
        self._database = database
        self._owner = owner
        self._check = check
        self._links = KnownLinks()
        self._pending: asyncio.Queue[_PendingWrite] = asyncio.Queue()
        self._gather_s = GATHER_S
        self._log = structlog.get_logger("senders.queue.writer")

    async def begin(self, start: AttemptStart) -> Begin:
        """Make `started` durable, unless the check refuses it."""
        pending = _PendingWrite("begin", start)
        with self._watchdog.rest():  # `run` is watched instead
            made = await self._written(pending)
        if pending.refusal is not None:
            refused = Begin.PAUSED if pending.refusal.reason == DeliveryReason.PAUSED else Begin.REFUSED
            return refused if made else Begin.ELSEWHERE
        return Begin.MADE if made else Begin.ELSEWHERE

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
        return await self._written(_PendingWrite(kind, row))

    async def _written(self, pending: _PendingWrite) -> bool:
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
        await asyncio.sleep(self._gather_s)
        began_s = asyncio.get_running_loop().time()
        self._links.forget_old(began_s)
        while not self._pending.empty():
            group.append(self._pending.get_nowait())
        await self._store(group)
        took_s = asyncio.get_running_loop().time() - began_s
        self._gather_s = min(max(GATHER_S, took_s), LONGEST_GATHER_S)

    async def _store(self, group: list[_PendingWrite]) -> None:
        """Write a group. If that fails, write its halves, down to the row that fails alone."""
        try:
            await self._store_paths(group)
            written = await self._database.run(lambda connection: self._apply(connection, group), pipelined=True)
            made = await self._made(written)
        except Exception as error:  # noqa: BLE001  # `_refuse` raises what is not the row's fault
            if len(group) == 1:
                await self._refuse(group[0], error)
                return
            middle = len(group) // 2
            await self._store(group[:middle])
            await self._store(group[middle:])
        else:
            self._links.add(written.links)
            for pending in group:
                self._finish(pending, made=pending.command_id in made.get(pending.written_kind, ()))

    async def _store_paths(self, group: list[_PendingWrite]) -> None:
        """Number the ways that have no number yet, in a transaction of their own: numbers stay, whatever follows."""
        rows = (pending.row for pending in group)
        paths = [row.path for row in rows if isinstance(row, StateChange) and row.path and row.path.number is None]
        if paths:
            numbers = await self._database.run(lambda connection: attempt_paths.store(connection, paths))
            for path in paths:
                path.number = numbers[path.text]

    def _new_links(self, group: list[_PendingWrite]) -> dict[bytes, str]:
        """The links of the mails that begin. Those of a refused one are not stored, so they must not count as known."""
        mails = (pending.row for pending in group if pending.refusal is None)
        return self._links.missing(mail.links for mail in mails if isinstance(mail, AttemptStart))

    def _finish(self, pending: _PendingWrite, *, made: bool) -> None:
        row = pending.refusal or pending.row
        if made and isinstance(row, StateChange):
            self._report(pending.written_kind, row.state, row.reason)
        if not pending.done.done():
            pending.done.set_result(made)

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
        """Fail a row that cannot be written even alone. Raises `error` if no row at all can be written.

        A statement that a time-out cancelled says nothing about its row: that is written with the next group.
        """
        if isinstance(error, QueryCanceled) and pending.timed_out < TIMEOUTS:
            pending.timed_out += 1
            self._log.warning("statement_timed_out", error=describe(error), next_step="tried again")
            self._pending.put_nowait(pending)
            return
        if fault_of(error) is not Fault.ITEM:
            try:
                await self._database.run(lambda connection: self._apply(connection, []), pipelined=True)
            except Exception as failure:
                raise error from failure
        self._log.error("ledger_row_refused", command_id=pending.command_id, kind=pending.kind, error=describe(error))
        if pending.drop_text():
            await self._store([pending])
        elif not pending.done.done():
            pending.done.set_exception(RowRefused(describe(error)))

    async def _made(self, written: _WrittenGroup) -> dict[_Kind, set[str]]:
        """The ids of the changes that a group has made, which nobody had to know before its commit."""
        made = written.made
        made["begin"] = await transitions.ids_of(written.begun)
        if written.answers:
            recorded = await transitions.ids_of(written.answered)
            if len(recorded) < len(written.answers):
                recorded |= await self._database.run(
                    lambda connection: transitions.recorded_before(connection, written.answers, recorded), alone=True
                )
            made["answer"] = recorded
        return made

    async def _apply(self, connection: AsyncConnection[Any], group: list[_PendingWrite]) -> _WrittenGroup:
        """Make the changes. An empty group tries each statement without a row."""

        def needed(rows: Collection[object]) -> bool:
            return bool(rows) or not group

        answers = [
            pending.row for pending in group if pending.kind == "answer" and isinstance(pending.row, StateChange)
        ]
        written = _WrittenGroup()
        if needed(answers):
            sent = await transitions.send_answers(connection, answers, self._owner)
            if not group or any(answer.hard for answer in answers):  # the check must see what they suppress
                written.made["answer"] = await transitions.answered(connection, answers, sent)
            else:
                written.answers, written.answered = answers, sent
        await self._check_starts(connection, group)
        starts: list[AttemptStart] = []
        changes: dict[_Kind, list[StateChange]] = {"take_back": [], "settle": [], "postpone": []}
        for pending in group:
            row = pending.refusal or pending.row
            if isinstance(row, AttemptStart):
                starts.append(row)
            elif pending.written_kind != "answer":
                changes[pending.written_kind].append(row)

        if needed(starts):
            written.links = self._new_links(group)
            if needed(written.links):
                await link_targets.store(connection, written.links)
            written.begun = [await transitions.send_begin(connection, starts, self._owner)]
        made = written.made
        if needed(changes["take_back"]):
            made["take_back"] = await transitions.take_back(connection, changes["take_back"], self._owner)
        if needed(changes["settle"]):
            made["settle"] = await transitions.settle(connection, changes["settle"])
        if needed(changes["postpone"]):
            made["postpone"] = await transitions.postpone(connection, changes["postpone"])
        return written

    async def _check_starts(self, connection: AsyncConnection[Any], group: list[_PendingWrite]) -> None:
        """Ask the check about the starts of a group, and note its refusals.

        A transaction whose commit was not confirmed is made again. What it began already is taken back where the check
        refuses it now: no mail was sent, because its lane waits.
        """
        starts = {row.due.command.id: row for pending in group if isinstance(row := pending.row, AttemptStart)}
        if group and not starts:
            return
        refused = await self._check(connection, list(starts.values()))
        for pending in group:
            pending.refusal = refused.get(pending.command_id) if isinstance(pending.row, AttemptStart) else None
        if refused or not group:
            undone = [
                StateChange(id_, starts[id_].attempt, starts[id_].due.state, change.at)
                for id_, change in refused.items()
            ]
            await transitions.take_back(connection, undone, self._owner)

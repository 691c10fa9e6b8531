"""Group commit for the ledger: what many deliveries want written at the same moment goes in one transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from psycopg import AsyncConnection

from senders import ledger
from senders.database import AsyncDatabase
from senders.ledger import Change, Start

GATHER_S = 0.002
"""How long the first change waits for company. A transaction costs the loop about a millisecond, a mail waits twice."""

_Kind = Literal["begin", "answer", "take_back", "settle", "postpone"]


@dataclass(slots=True)
class _Wanted:
    kind: _Kind
    row: Start | Change
    done: "asyncio.Future[bool]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def command_id(self) -> str:
        return self.row.due.command.id if isinstance(self.row, Start) else self.row.command_id


class LedgerWriter:
    """Each method returns once its change is durable: True if it was made, False if the command had moved on."""

    def __init__(self, database: AsyncDatabase, owner: str) -> None:
        self._database = database
        self._owner = owner
        self._wanted: asyncio.Queue[_Wanted] = asyncio.Queue()

    async def begin(self, start: Start) -> bool:
        """Make `started` durable."""
        return await self._write("begin", start)

    async def answer(self, change: Change) -> bool:
        """Record what a mail transaction came to."""
        return await self._write("answer", change)

    async def take_back(self, change: Change) -> bool:
        """Undo an attempt of which the server took nothing."""
        return await self._write("take_back", change)

    async def settle(self, changes: Sequence[Change]) -> None:
        """Record final answers without a mail."""
        await asyncio.gather(*(self._write("settle", change) for change in changes))

    async def postpone(self, changes: Sequence[Change]) -> None:
        """Let commands wait."""
        await asyncio.gather(*(self._write("postpone", change) for change in changes))

    async def _write(self, kind: _Kind, row: Start | Change) -> bool:
        wanted = _Wanted(kind, row)
        self._wanted.put_nowait(wanted)
        return await wanted.done

    async def run(self) -> None:
        """Write what is wanted, for ever. One transaction at a time; the next takes all that came meanwhile."""
        while True:
            group = [await self._wanted.get()]
            await asyncio.sleep(GATHER_S)
            while not self._wanted.empty():
                group.append(self._wanted.get_nowait())
            made = await self._database.run(lambda connection, group=group: self._apply(connection, group))  # type: ignore[misc]
            for wanted in group:
                if not wanted.done.done():
                    wanted.done.set_result(wanted.command_id in made[wanted.kind])

    async def _apply(self, connection: AsyncConnection[Any], group: list[_Wanted]) -> dict[_Kind, set[str]]:
        starts = [wanted.row for wanted in group if isinstance(wanted.row, Start)]
        changes: dict[_Kind, list[Change]] = {"answer": [], "take_back": [], "settle": [], "postpone": []}
        for wanted in group:
            if isinstance(wanted.row, Change):
                changes[wanted.kind].append(wanted.row)
        return {
            "begin": await ledger.begin(connection, starts, self._owner) if starts else set(),
            "answer": await ledger.answer(connection, changes["answer"], self._owner),
            "take_back": await ledger.take_back(connection, changes["take_back"], self._owner),
            "settle": await ledger.settle(connection, changes["settle"]),
            "postpone": await ledger.postpone(connection, changes["postpone"]),
        }

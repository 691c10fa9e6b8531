"""The gate before each event: closed while a checkpoint is taken, so that no event is half in it.

A checkpoint closes the gate, waits until every event that was begun is finished, and opens it again when all that was
done is sealed. A batch step never suspends, so nothing is ever waited for; an agent that awaits between two
changes of one event is waited for, and its changes stay in one transaction.
"""

import asyncio
from weakref import WeakSet

LOOK_S = 0.002


class Gate:
    """Knows which events were begun and are not finished. Belongs to one event loop.

    Held weakly: an event that nobody works on any more, since its queue was cleared, is not waited for.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._begun: WeakSet[object] = WeakSet()

    @property
    def begun(self) -> int:
        """How many events are begun and not finished."""
        return len(self._begun)

    def has_begun(self, event: object) -> bool:
        """Whether somebody works on `event`, or has and others have yet to."""
        return event in self._begun

    async def enter(self, event: object) -> None:
        """Waits until `event` may be begun. What another agent has begun goes on: it is in this checkpoint already."""
        while not self._open.is_set() and event not in self._begun:
            await self._open.wait()

    def begin(self, event: object) -> None:
        """`event` is being worked on from here."""
        self._begun.add(event)

    def finish(self, event: object) -> bool:
        """`event` is finished by all; whether it had been begun at all."""
        begun = event in self._begun
        self._begun.discard(event)
        return begun

    def open(self) -> None:
        """Lets events in."""
        self._open.set()

    def shut(self) -> None:
        """Lets no event in."""
        self._open.clear()

    async def quiet(self) -> None:
        """Waits until no event is begun."""
        while self._begun:
            await asyncio.sleep(LOOK_S)

"""The gate before each event: closed during a checkpoint, so that no checkpoint contains half an event.

A checkpoint closes the gate, waits until every event in progress is finished, drains the buffer and opens the gate. A
batch never suspends, so a checkpoint never waits for one. It does wait for an agent that awaits between two changes of
one event, so that both changes are in one transaction.
"""

import asyncio
from weakref import WeakSet

CHECK_INTERVAL_S = 0.002


class EventGate:
    """Tracks the events in progress. Belongs to one event loop.

    References are weak: an event whose queue was cleared is forgotten, and no checkpoint waits for it.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._begun: WeakSet[object] = WeakSet()

    @property
    def begun(self) -> int:
        """The number of events in progress."""
        return len(self._begun)

    def has_begun(self, event: object) -> bool:
        """Whether `event` is in progress for at least one agent."""
        return event in self._begun

    async def enter(self, event: object) -> None:
        """Waits until `event` may begin. An event in progress passes: it is in this checkpoint already."""
        while not self._open.is_set() and event not in self._begun:
            await self._open.wait()

    def begin(self, event: object) -> None:
        """Marks `event` as in progress."""
        self._begun.add(event)

    def finish(self, event: object) -> bool:
        """Marks `event` as finished by all agents; returns whether it had begun."""
        begun = event in self._begun
        self._begun.discard(event)
        return begun

    def open(self) -> None:
        """Lets new events begin."""
        self._open.set()

    def close(self) -> None:
        """Lets no new event begin."""
        self._open.clear()

    async def wait_idle(self) -> None:
        """Waits until no event is in progress."""
        while self._begun:
            await asyncio.sleep(CHECK_INTERVAL_S)

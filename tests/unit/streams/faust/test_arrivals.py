"""How the consume thread wakes the fetcher: not for each arrival, and never too late."""

import asyncio
from collections.abc import Callable
from typing import Any

from streams.faust.consumer import Consumer, EventLoopListener


class Fetching:
    """A consumer's side of the event loop: what arrived, and the wakes that are on their way to it."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.wakes: list[Callable[[], None]] = []
        self.records: list[dict[Any, Any]] = []
        self.looked_while_set: list[bool] = []
        of: Any = self
        self.listener = EventLoopListener(of, of)

    def call_soon_threadsafe(self, wake: Callable[[], None]) -> None:
        self.wakes.append(wake)

    def _take(self, _: object) -> dict[Any, Any]:
        self.looked_while_set.append(self.arrived.is_set())
        return self.records.pop(0) if self.records else {}

    async def getmany(self) -> dict[Any, Any]:
        of: Any = self
        found: dict[Any, Any] = await Consumer._getmany(of, set(), 0.001)
        return found


async def test_a_fetcher_that_will_look_is_not_woken_again() -> None:
    fetching = Fetching()
    fetching.listener.arrived()
    fetching.wakes.pop()()
    fetching.listener.arrived()
    assert fetching.wakes == []
    fetching.arrived.clear()
    fetching.listener.arrived()
    assert len(fetching.wakes) == 1


async def test_a_fetcher_looks_once_more_after_it_cleared_the_event() -> None:
    """Records that arrived before that woke nobody, because the event was still set."""
    fetching = Fetching()
    fetching.arrived.set()
    fetching.records = [{}, {"tp": ["record"]}]
    assert await fetching.getmany() == {"tp": ["record"]}
    assert fetching.looked_while_set == [True, False]

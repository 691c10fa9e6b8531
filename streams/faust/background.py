"""Background loops, which Faust starts and stops as services."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mode import Service

T = TypeVar("T")

Loop = Callable[[Callable[[float], Awaitable[None]], Callable[[], bool]], Awaitable[None]]
"""Runs until its second argument returns True. Sleeps with its first argument, which a stop interrupts."""


class BackgroundLoop(Service):
    """Runs one loop. A failure in it ends the worker."""

    def __init__(self, loop: Loop, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._run_loop = loop

    @Service.task
    async def _run(self) -> None:
        await self._run_loop(self.sleep, lambda: self.should_stop)


async def in_thread(work: Callable[[], T]) -> T:
    """Runs a blocking call in a thread of the default pool."""
    return await asyncio.get_running_loop().run_in_executor(None, work)

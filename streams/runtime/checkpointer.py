"""Takes checkpoints: closes the gate, drains the buffer, stages in the event loop, opens the gate, commits in a thread.

Work done while a transaction is in flight belongs to the next one, which begins after it. It is no more at risk than
the transaction itself: a lost transaction drops all state, and a fatal outcome ends the process.

Knows neither Faust nor Kafka: only a buffer, a committer, tables and a gate.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import structlog

from streams.runtime.checkpoint import Buffer, TableChanges, Transaction
from streams.runtime.commit import CommitOutcome, Committer
from streams.runtime.gate import EventGate

T = TypeVar("T")
log = structlog.get_logger()

EVENT_TIMEOUT_S = 60.0
"""How long an event in progress may delay a checkpoint before its agent counts as stuck."""
OVERLAP_S = 1.0
"""How long new events may begin while a transaction is in flight. Then the gate closes, which bounds memory."""
CHECK_INTERVAL_S = 5.0


class CheckpointedTable(Protocol):
    """What a checkpoint needs of a table."""

    def drop(self) -> None: ...
    def changes(self) -> list[TableChanges]: ...


class Checkpointer:
    """Takes one checkpoint at a time. Calls `fatal` if the process must end, and `lost` if the partitions are lost."""

    def __init__(
        self,
        buffer: Buffer,
        committer: Committer,
        states: Callable[[], Iterable[CheckpointedTable]],
        fatal: Callable[[str], object],
        lost: Callable[[], object],
        observe: Callable[[Transaction, CommitOutcome, float], object] = lambda *_: None,
    ) -> None:
        self.gate = EventGate()
        self._buffer = buffer
        self._committer = committer
        self._states = states
        self._fatal = fatal
        self._lost = lost
        self._observe = observe
        self._ended_s = time.monotonic()
        self._lock = asyncio.Lock()
        self._final: set[asyncio.Future[None]] = set()
        self._finishing = False
        self._thread = ThreadPoolExecutor(1, "commit")

    async def checkpoint(self, force: bool = False) -> bool:
        """Commits the work since the last checkpoint; returns whether there was any and it is committed.

        With `force` it commits even without work: success proves that the partitions are still assigned. Not after
        `finish`: the partitions are being revoked.
        """
        async with self._lock:
            try:
                await self._close()
                return await self._commit_or_end(force and not self._finishing)
            finally:
                self._ended_s = time.monotonic()
                if not self._finishing:
                    self.gate.open()

    def since_last_s(self) -> float:
        """The time since the last checkpoint ended, whether or not it had anything to commit."""
        return time.monotonic() - self._ended_s

    async def finish(self, timeout_s: float, force: bool = False) -> bool:
        """Commits everything and leaves the gate closed: no event begins until `resume`.

        Returns False if the commit takes longer than `timeout_s`. The commit continues; `wait_idle` waits for it.
        """
        self._finishing = True
        self.gate.close()
        final = asyncio.ensure_future(self._finish(force))
        self._final.add(final)
        final.add_done_callback(self._final.discard)
        done, _ = await asyncio.wait({final}, timeout=timeout_s)
        return bool(done)

    async def _finish(self, force: bool) -> None:
        async with self._lock:
            await self._close()
            await self._commit_or_end(force)

    def resume(self) -> None:
        """Opens the gate after `finish`."""
        self._finishing = False
        self.gate.open()

    async def _close(self) -> None:
        self.gate.close()
        try:
            async with asyncio.timeout(EVENT_TIMEOUT_S):
                await self.gate.wait_idle()
        except TimeoutError:
            self._fatal(f"{self.gate.begun} events did not finish within {EVENT_TIMEOUT_S:g} s; an agent is stuck")
            raise

    async def wait_idle(self) -> None:
        """Waits until no transaction is in flight and no event is in progress."""
        async with self._lock:
            await self.gate.wait_idle()

    async def while_idle(self, read: Callable[[], T]) -> T:
        """Returns what `read` returns, called while no transaction is in flight, so that state at rest is committed."""
        async with self._lock:
            return read()

    def drop(self) -> None:
        """Drops all state and everything uncommitted. Never waits: a commit in flight ends by itself."""
        self._buffer.drop()
        for state in self._states():
            state.drop()

    async def _commit_or_end(self, force: bool) -> bool:
        """A defect in a checkpoint ends the process, because no later checkpoint has what this one drained."""
        try:
            return await self._commit(force)
        except Exception as error:
            self._fatal(f"a checkpoint could not be written ({error!r}), and a later one would lack its content")
            raise

    async def _commit(self, force: bool) -> bool:
        transaction = self._drain(force)
        if transaction is None:
            return False
        began_s = time.monotonic()
        staged = self._committer.stage(transaction)
        loop = asyncio.get_running_loop()
        commit = loop.run_in_executor(self._thread, self._committer.commit, transaction, staged)
        if not self._finishing:
            self.gate.open()
        done, _ = await asyncio.wait({commit}, timeout=OVERLAP_S)
        while not done:
            self.gate.close()
            done, _ = await asyncio.wait({commit}, timeout=CHECK_INTERVAL_S)
            if not done and self._committer.is_stuck():
                self._fatal("a commit call to the client library does not return")
        result = commit.result()
        if result is CommitOutcome.FATAL:
            self._fatal("a checkpoint could not be committed; the state is recovered by the next process")
        elif result is CommitOutcome.LOST:
            self.drop()
            self._lost()
        self._observe(transaction, result, time.monotonic() - began_s)
        return result is CommitOutcome.OK

    def _drain(self, force: bool) -> Transaction | None:
        """One synchronous section: the transaction is complete, and later work belongs to the next one."""
        if not self._buffer.owned:
            return None
        return self._buffer.drain([changes for state in self._states() for changes in state.changes()], force)

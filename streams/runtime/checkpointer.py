"""Takes checkpoints: closes the gate, seals, stages in the event loop, opens the gate, then commits in a thread.

Work done while a transaction is in flight belongs to the next one, which begins after it. It is no more at risk than
transaction work: a lost transaction drops all state, and a fatal result ends the process.

Knows neither Faust nor Kafka: a buffer, a committer, tables and a gate.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import structlog

from streams.runtime.checkpoint import Buffer, Output, Transaction
from streams.runtime.commit import CommitOutcome, Committer
from streams.runtime.gate import EventGate

T = TypeVar("T")
log = structlog.get_logger()

BEGUN_S = 60.0
"""How long an event in progress may delay a checkpoint before its agent counts as stuck."""
AHEAD_S = 1.0
"""How long new events may begin while a transaction is in flight. Then the gate closes, which bounds memory."""
LOOK_S = 5.0


class CheckpointedTable(Protocol):
    """What a checkpoint needs from a table."""

    def drop(self) -> None: ...
    def changes(self) -> list[Output]: ...


class Checkpointer:
    """One checkpoint at a time. `fatal` is called where the process must end, `lost` where the partitions are gone."""

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
        self._one = asyncio.Lock()
        self._last: set[asyncio.Future[None]] = set()
        self._finishing = False
        self._thread = ThreadPoolExecutor(1, "commit")

    async def checkpoint(self, proof: bool = False) -> bool:
        """Commits the work since the last checkpoint; returns whether there was any and it is committed.

        With `proof` it commits even without work: success proves that the partitions are still assigned. Not after
        `finish`: the partitions are being revoked.
        """
        async with self._one:
            try:
                await self._close()
                return await self._whole(proof and not self._finishing)
            finally:
                self._ended_s = time.monotonic()
                if not self._finishing:
                    self.gate.open()

    def since_last_s(self) -> float:
        """The time since the last checkpoint ended, whether or not it had anything to commit."""
        return time.monotonic() - self._ended_s

    async def finish(self, timeout_s: float, proof: bool = False) -> bool:
        """Commits everything and leaves the gate closed: no event begins until `resume`.

        Returns False if the commit takes longer than `timeout_s`. The commit continues; `settled` waits for it.
        """
        self._finishing = True
        self.gate.shut()
        last = asyncio.ensure_future(self._finish(proof))
        self._last.add(last)
        last.add_done_callback(self._last.discard)
        done, _ = await asyncio.wait({last}, timeout=timeout_s)
        return bool(done)

    async def _finish(self, proof: bool) -> None:
        async with self._one:
            await self._close()
            await self._whole(proof)

    def resume(self) -> None:
        """Opens the gate after `finish`."""
        self._finishing = False
        self.gate.open()

    async def _close(self) -> None:
        self.gate.shut()
        try:
            async with asyncio.timeout(BEGUN_S):
                await self.gate.quiet()
        except TimeoutError:
            self._fatal(f"{self.gate.begun} events were not finished within {BEGUN_S:g} s; an agent is stuck")
            raise

    async def settled(self) -> None:
        """Waits until no transaction is in flight and no event is in progress."""
        async with self._one:
            await self.gate.quiet()

    async def between(self, look: Callable[[], T]) -> T:
        """Returns what `look` returns, called while no transaction is in flight: state at rest is committed then."""
        async with self._one:
            return look()

    def drop(self) -> None:
        """Drops all state and everything uncommitted. Never waits: a commit in flight ends by itself."""
        self._buffer.drop()
        for state in self._states():
            state.drop()

    async def _whole(self, proof: bool) -> bool:
        """A defect in a checkpoint ends the process: no later checkpoint would hold what this one took out."""
        try:
            return await self._commit(proof)
        except Exception as error:
            self._fatal(f"a checkpoint could not be written ({error!r}); a later one would go on without it")
            raise

    async def _commit(self, proof: bool) -> bool:
        transaction = self._drain(proof)
        if transaction is None:
            return False
        began_s = time.monotonic()
        staged = self._committer.stage(transaction)
        loop = asyncio.get_running_loop()
        commit = loop.run_in_executor(self._thread, self._committer.commit, transaction, staged)
        if not self._finishing:
            self.gate.open()
        done, _ = await asyncio.wait({commit}, timeout=AHEAD_S)
        while not done:
            self.gate.shut()
            done, _ = await asyncio.wait({commit}, timeout=LOOK_S)
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

    def _drain(self, proof: bool) -> Transaction | None:
        """One synchronous section: what it takes is complete, and later work is in the next checkpoint."""
        if not self._buffer.owned:
            return None
        return self._buffer.drain([output for state in self._states() for output in state.changes()], proof)

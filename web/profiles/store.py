"""The store of profiles: merges patches into the rows of their users, and puts what changed into the outbox.

Calls that arrive while a transaction runs share the next one (group commit), so a call costs a fraction of a commit.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from psycopg import AsyncConnection

from infra.postgres.database import AsyncDatabase
from infra.service.faults import Fault, fault_of
from web.profiles import tables
from web.profiles.checks import InvalidPatch, bounded, require_link, state_of, with_refusals
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.profile_state import NOTHING, ProfileState, decode, encode
from web.profiles.replay import ReplayRules, write_later, write_links

T = TypeVar("T")

ANSWER_S = 4.0
"""How long a call waits for PostgreSQL: a client gets its 503 within five seconds."""
STUCK_S = 2.0
"""If a transaction takes longer than this, calls are refused at once until it has ended."""
GROUP = 500
"""The most patches and links of a transaction. Merging them keeps the event loop for some 10 ms."""
MOST_WAITING = 10_000
"""The most patches and links that wait in memory."""


class StoreAway(Exception):
    """PostgreSQL does not answer now. What was given may have been kept; giving it again changes nothing."""


class StoreRefusal(NamedTuple):
    """A patch or a link that was not kept: the field, and what is wrong with it. No value of it is in the text."""

    item: ProfilePatch | IdentityLink
    field: str
    reason: str


@dataclass(slots=True)
class _Group:
    """Patches and links that are written together."""

    done: "asyncio.Future[None]"
    patches: list[tuple[ProfilePatch, ProfileState]] = field(default_factory=list)
    links: list[IdentityLink] = field(default_factory=list)
    refused: list[StoreRefusal] = field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.patches) + len(self.links)


class ProfileStore:
    """Used in the event loop's thread. Both databases are its own. `clock` gives seconds since 1970.

    What concerns people who were `erased` is dropped, as if it was kept.
    """

    def __init__(
        self,
        database: AsyncDatabase,
        reading: AsyncDatabase,
        replay: ReplayRules | None = None,
        clock: Callable[[], float] = time.time,
        erased: Container[str] = (),
    ) -> None:
        self._database = database
        self._reading = reading
        self._erased = erased
        self._replay = replay or ReplayRules()
        self._clock = clock
        self._waiting: deque[_Group] = deque()
        self._size = 0
        self._writer: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[None]] = set()
        self._one_later = asyncio.Lock()
        self._began_s: float | None = None

    async def store(
        self, patches: Sequence[ProfilePatch], links: Sequence[IdentityLink] = ()
    ) -> Sequence[StoreRefusal]:
        """Returns when the patches and links are durable, with those that are refused. Raises StoreAway.

        They may be given again, and in any order.
        """
        items: list[ProfilePatch | IdentityLink] = [*patches, *links]
        refused: list[StoreRefusal] = []
        ends_s = time.monotonic() + ANSWER_S
        for start in range(0, len(items), GROUP):
            group = self._checked(items[start : start + GROUP])
            if group.size:
                self._enqueue(group)
                await _answer(group.done, ends_s)
            refused += group.refused
        return refused

    async def read(self, user_id: str) -> ProfileState | None:
        """What is known of a user; None if nothing is. Raises StoreAway."""
        rows = await self._read(tables.state_of_user(user_id))
        return decode(rows[0][0]) if rows else None

    async def visitors(self, user_id: str, most: int) -> list[str]:
        """The newest anonymous ids that are linked to a user. Raises StoreAway."""
        return [anonymous_id for (anonymous_id,) in await self._read(tables.visitors_of(user_id, most))]

    async def run(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Does other work in one transaction, beside that of the store, and commits it. Raises StoreAway.

        It may run more than once.
        """
        return await _answer(asyncio.ensure_future(_transaction(self._reading, work)), time.monotonic() + ANSWER_S)

    async def close(self) -> None:
        """Waits a little for what was given, and closes the connections."""
        if tasks := self._later | ({self._writer} if self._writer is not None else set()):
            _, late = await asyncio.wait(tasks, timeout=STUCK_S)
            for task in late:
                task.cancel()
        await self._database.close()
        await self._reading.close()

    def _checked(self, items: Sequence[ProfilePatch | IdentityLink]) -> _Group:
        now_us = int(self._clock() * 1_000_000)
        group = _Group(asyncio.get_running_loop().create_future())
        for item in items:
            if item.user_id in self._erased:
                continue
            try:
                if isinstance(item, IdentityLink):
                    require_link(item, now_us)
                    group.links.append(item)
                elif (said := state_of(item, now_us)) != NOTHING:
                    group.patches.append((item, said))
            except InvalidPatch as error:
                group.refused.append(StoreRefusal(item, error.field, error.reason))
        return group

    def _enqueue(self, group: _Group) -> None:
        stuck = self._began_s is not None and time.monotonic() - self._began_s > STUCK_S
        if stuck or self._size + group.size > MOST_WAITING:
            raise StoreAway
        self._waiting.append(group)
        self._size += group.size
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting(), name="profile-store")

    async def _write_waiting(self) -> None:
        while self._waiting:
            together = [self._next()]
            size = together[0].size
            while self._waiting and (size := size + self._waiting[0].size) <= GROUP:
                together.append(self._next())
            await self._write(together)

    def _next(self) -> _Group:
        group = self._waiting.popleft()
        self._size -= group.size
        return group

    async def _write(self, together: list[_Group]) -> None:
        """Write groups in one transaction. If one is at fault, each gets a transaction of its own."""
        self._began_s = time.monotonic()
        try:
            refused, left = await _transaction(
                self._database, lambda connection: self._write_groups(connection, together)
            )
        except Exception as error:  # noqa: BLE001  # the call that is at fault raises it
            if len(together) == 1 or isinstance(error, StoreAway):
                _fail(together, error)
                return
            for group in together:
                await self._write([group])
        else:
            for group, of_it in zip(together, refused, strict=True):
                group.refused += of_it
                if links := [link for link in group.links if link.anonymous_id in left]:
                    self._write_later(group, links)
                else:
                    _succeed(group)
        finally:
            self._began_s = None

    def _write_later(self, group: _Group, links: Sequence[IdentityLink]) -> None:
        """Write links with much to forward beside other calls, in small transactions. The group waits for them."""

        async def write() -> None:
            try:
                await write_later(self._run_later, links, self._replay)
            except Exception as error:  # noqa: BLE001  # the call raises it
                _fail([group], error)
            else:
                _succeed(group)
            finally:
                self._size -= len(links)

        self._size += len(links)
        task = asyncio.create_task(write(), name="profile-store-later")
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def _run_later(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Do work in a transaction on the connection for reading, whose readers wait for one such transaction only."""
        async with self._one_later:
            return await _transaction(self._reading, work)

    async def _write_groups(
        self, connection: AsyncConnection[Any], together: Sequence[_Group]
    ) -> tuple[list[list[StoreRefusal]], set[str]]:
        """Write the patches and links of groups. Returns what is refused of each, and the visitors whose links are to
        be written later: it may run more than once."""
        left: set[str] = set()
        if links := [link for group in together for link in group.links]:
            left = {link.anonymous_id for link in await write_links(connection, links, self._replay)}
        users = sorted({patch.user_id for group in together for patch, _ in group.patches})
        if not users:
            return [[] for _ in together], left
        await connection.execute(*tables.add(users))
        known = dict(await (await connection.execute(*tables.hold(users))).fetchall())
        states = {user_id: decode(text) for user_id, text in known.items()}
        refused = [_merge_group(group, states) for group in together]
        texts = {user_id: encode(state) for user_id, state in states.items()}
        changed = {user_id: text for user_id, text in texts.items() if text != known[user_id]}
        if changed:
            await connection.execute(*tables.change(changed))
            await connection.execute(*tables.announce(changed))
        return refused, left

    async def _read(self, statement: tables.Statement) -> list[tuple[Any, ...]]:
        async def read(connection: AsyncConnection[Any]) -> list[tuple[Any, ...]]:
            return await (await connection.execute(*statement)).fetchall()

        return await self.run(read)


async def _transaction(database: AsyncDatabase, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    try:
        return await database.run(work, patient=False)
    except Exception as error:
        if fault_of(error) is Fault.SERVER:
            raise StoreAway from error
        raise


async def _answer(future: "asyncio.Future[T]", ends_s: float) -> T:
    """The future's result until this time of the monotonic clock. The transaction behind it is left to end by itself:
    to cancel one would wait for the server too."""
    future.add_done_callback(_seen)  # nobody waits for it any more after a time-out or a cancellation
    done, _ = await asyncio.wait({future}, timeout=max(0.0, ends_s - time.monotonic()))
    if not done:
        raise StoreAway
    return future.result()


def _merge_group(group: _Group, states: dict[str, ProfileState]) -> list[StoreRefusal]:
    """Merge the patches of a group into the states, but of those that would make a profile too large only refusals."""
    refused = []
    for patch, said in group.patches:
        known = states[patch.user_id]
        try:
            states[patch.user_id] = bounded(patch.user_id, known, said)
        except InvalidPatch as error:
            states[patch.user_id] = with_refusals(patch.user_id, known, said)
            refused.append(StoreRefusal(patch, error.field, error.reason))
    return refused


def _succeed(group: _Group) -> None:
    if not group.done.done():
        group.done.set_result(None)


def _fail(together: Sequence[_Group], error: Exception) -> None:
    for group in together:
        if not group.done.done():
            group.done.set_exception(error)


def _seen(future: "asyncio.Future[Any]") -> None:
    """Takes note of an error, which asyncio would else report as never retrieved."""
    if not future.cancelled():
        future.exception()

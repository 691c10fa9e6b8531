"""Answers the calls of SDKs: the key, its limits, what the call holds, and that it is durable before the 2xx.

Values of profiles and links come before events: when an event can be read, the link that gives it a user is there.
"""

from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from web.http import Answer, Request
from web.ingest import answers
from web.ingest.credentials import written_key
from web.ingest.documents import document_at
from web.ingest.inflation import inflated
from web.ingest.outlets import EventWriter, LogAway, LogFull
from web.ingest.paths import CallKind, call_at
from web.ingest.reading import CallProblem, ItemRefusal, Reading
from web.ingest.waiting_calls import WaitingCalls, WaitingFull
from web.keys.write_key import WriteKey
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.store import StoreAway, StoreRefusal

Store = Callable[[Sequence[ProfilePatch], Sequence[IdentityLink]], Awaitable[Sequence[StoreRefusal]]]
"""Returns when patches and links are durable, with those that are refused. Raises StoreAway."""


class CallReader(Protocol):
    """Reads a call. `received_us` is in microseconds since 1970, and the body is inflated."""

    def __call__(
        self, call: CallKind, headers: Mapping[str, str], body: bytes, key: WriteKey, *, received_us: int
    ) -> Reading | CallProblem: ...


class IngestObserver(Protocol):
    """Is told what became of items."""

    def counted(self, result: str, items: int) -> None:
        """So many items were `accepted`, `patched`, `refused`, `postponed` or, of erased people, `dropped`."""


@dataclass(frozen=True, slots=True)
class IngestService:
    """The handler of all paths of ingest."""

    find: Callable[[str], WriteKey | None]
    """The valid key with this secret."""
    allow: Callable[[WriteKey, int], float]
    """Takes so many items from a key's limit; returns 0, or after how many seconds to come again."""
    read: CallReader
    log: EventWriter
    store: Store
    observer: IngestObserver
    largest: int
    """The largest body, inflated, in bytes."""
    public_url: str | None
    """The origin under which browsers reach this ingest, if it is known."""
    waiting: WaitingCalls = field(default_factory=WaitingCalls)
    """The calls that wait for the store."""
    erased: Container[str] = ()
    """People whose events are dropped. The sender is told nothing of it."""

    def key_of(self, request: Request) -> WriteKey | None:
        """The valid key that a request without a body carries."""
        secret = written_key(request.headers, request.query, b"")
        return None if secret is None else self.find(secret)

    async def answer(self, request: Request) -> Answer:
        """The answer to a call."""
        call = call_at(request.path)
        if call is None:
            return document_at(request, self.find, self.public_url) or answers.no_such_path()
        if request.method == "OPTIONS":
            return answers.PREFLIGHT
        if request.method != "POST":
            return answers.other_method("POST, OPTIONS")
        body = inflated(request.body, request.headers.get("content-encoding", ""), self.largest)
        if isinstance(body, CallProblem):
            return answers.problem(body)
        secret = written_key(request.headers, request.query, body)
        key = None if secret is None else self.find(secret)
        if key is None:
            return answers.no_key()
        if not key.serves(request.headers.get("origin")):
            return answers.other_origin()
        reading = self.read(call, request.headers, body, key, received_us=request.received_us)
        if isinstance(reading, CallProblem):
            return answers.problem(reading)
        return await self._keep(reading, key, len(body))

    async def _keep(self, reading: Reading, key: WriteKey, size: int) -> Answer:
        """Makes what was read from so many bytes durable."""
        events, patches = len(reading.events), len(reading.patches) + len(reading.links)
        kept = [record for record in reading.events if (record.key or b"").decode() not in self.erased]
        wait_s = self.allow(key, max(1, events + patches))
        if wait_s > 0:
            self.observer.counted("postponed", events + patches)
            return answers.rate_limited(wait_s)
        refused: Sequence[StoreRefusal] = ()
        try:
            if patches:
                if kept:  # else nobody waits for PostgreSQL first
                    self.log.require_room(len(kept), sum(len(record.value) for record in kept))
                refused = await self._store(reading, size)
            if kept:
                await self.log.write(kept)
        except (LogFull, WaitingFull):
            self.observer.counted("postponed", events + patches)
            return answers.overloaded()
        except (LogAway, StoreAway):
            self.observer.counted("postponed", events + patches)
            return answers.away()
        self.observer.counted("accepted", len(kept))
        if len(kept) < events:
            self.observer.counted("dropped", events - len(kept))
        self.observer.counted("patched", patches - len(refused))
        self.observer.counted("refused", len(reading.refused))
        return answers.kept(reading.refused, nothing=events + patches == len(refused))

    async def _store(self, reading: Reading, size: int) -> Sequence[StoreRefusal]:
        with self.waiting.room(size):
            refused = await self.store(reading.patches, reading.links)
        reading.refused += [ItemRefusal(reading.place_of(each.item), each.field, each.reason) for each in refused]
        return refused

"""The handler of ingest: in which order a call's parts become durable, and what is answered if one does not."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
import pytest

from web.http import Answer, Request
from web.ingest.calls import read
from web.ingest.outlets import LogAway, LogFull
from web.ingest.reading import EventRecord
from web.ingest.rules import ReadingRules
from web.ingest.service import IngestService
from web.keys.write_key import KeyClass, WriteKey
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.store import StoreAway, StoreRefusal

KEY = WriteKey("k", KeyClass.SERVER, "shop")
TRACK = {"type": "track", "userId": "ann", "event": "Order Completed", "messageId": "1"}
IDENTIFY = {"type": "identify", "userId": "ann", "traits": {"plan": "pro"}}


class Outlets:
    """A log and a store that note what they get, and fail as told."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.log_fails: Exception | None = None
        self.has_no_room: Exception | None = None
        self.store_fails: Exception | None = None
        self.held: asyncio.Event | None = None
        self.refuses = False
        self.wait_s = 0.0
        self.counts: Counter[str] = Counter()
        self.service = IngestService(
            find=lambda secret: KEY if secret == "s" else None,
            allow=lambda _key, _items: self.wait_s,
            read=partial(read, rules=ReadingRules(lambda: "new")),
            log=self,
            store=self.store,
            observer=self,
            largest=10_000,
            public_url=None,
        )

    def require_room(self, events: int, size: int) -> None:
        assert events > 0
        assert size > 0
        if self.has_no_room is not None:
            raise self.has_no_room

    async def write(self, records: Sequence[EventRecord]) -> None:
        if self.log_fails is not None:
            raise self.log_fails
        self.taken += ["event"] * len(records)

    async def store(self, patches: Sequence[ProfilePatch], links: Sequence[IdentityLink]) -> Sequence[StoreRefusal]:
        if self.held is not None:
            await self.held.wait()
        if self.store_fails is not None:
            raise self.store_fails
        if self.refuses:
            return [StoreRefusal(each, "traits", "too large") for each in (*patches, *links)]
        self.taken += ["patch"] * len(patches) + ["link"] * len(links)
        return []

    def counted(self, result: str, items: int) -> None:
        self.counts[result] += items

    async def ask(self, *items: dict[str, Any], key: str = "s") -> Answer:
        body = orjson.dumps({"batch": items, "writeKey": key})
        return await self.service.answer(Request("POST", "/v1/batch", "", {}, body, 1_795_946_400_000_000))


@pytest.fixture
def outlets() -> Outlets:
    return Outlets()


async def test_links_and_values_come_before_events(outlets: Outlets) -> None:
    answer = await outlets.ask(TRACK, IDENTIFY | {"anonymousId": "visitor"}, TRACK)
    assert (answer.status, outlets.taken) == (200, ["patch", "link", "event", "event"])
    assert outlets.counts == {"accepted": 2, "patched": 2, "refused": 0}


@pytest.mark.parametrize(("error", "status", "again"), [(LogAway(), 503, "5"), (LogFull(), 429, "1")])
async def test_without_the_log_a_call_with_events_comes_again(
    outlets: Outlets, error: Exception, status: int, again: str
) -> None:
    outlets.log_fails = error
    answer = await outlets.ask(TRACK, IDENTIFY)
    assert (answer.status, dict(answer.headers)["retry-after"]) == (status, again)
    assert (await outlets.ask(IDENTIFY)).status == 200
    assert outlets.counts == {"postponed": 2, "patched": 1, "accepted": 0, "refused": 0}


@pytest.mark.parametrize(("error", "status"), [(LogAway(), 503), (LogFull(), 429)])
async def test_a_call_whose_events_have_no_room_does_not_wait_for_the_store(
    outlets: Outlets, error: Exception, status: int
) -> None:
    outlets.has_no_room = error
    assert ((await outlets.ask(TRACK, IDENTIFY)).status, outlets.taken) == (status, [])
    assert ((await outlets.ask(IDENTIFY)).status, outlets.taken) == (200, ["patch"])


async def test_calls_that_wait_for_the_store_are_bounded_by_their_bytes(outlets: Outlets) -> None:
    outlets.service.waiting.most = 400
    outlets.held = asyncio.Event()
    large = IDENTIFY | {"traits": {"note": "x" * 150}}
    waiting = [asyncio.create_task(outlets.ask(call)) for call in (large, IDENTIFY | {"userId": "bob"})]
    await asyncio.sleep(0)
    assert [(await outlets.ask(call)).status for call in (TRACK, large)] == [200, 429]
    outlets.held.set()
    assert [(await call).status for call in waiting] == [200, 200]
    assert (await outlets.ask({**large, "traits": {"note": "x" * 500}})).status == 200


async def test_without_the_store_a_call_with_values_comes_again(outlets: Outlets) -> None:
    outlets.store_fails = StoreAway()
    assert (await outlets.ask(TRACK, IDENTIFY)).status == 503
    assert outlets.taken == []
    assert (await outlets.ask(TRACK)).status == 200


async def test_what_the_store_refuses_is_named_at_its_place(outlets: Outlets) -> None:
    outlets.refuses = True
    some = await outlets.ask(TRACK, IDENTIFY)
    assert (some.status, orjson.loads(some.body)["refused"]) == (
        200,
        [{"index": 1, "field": "traits", "reason": "too large"}],
    )
    assert (await outlets.ask(IDENTIFY)).status == 400


async def test_a_key_that_has_sent_enough_is_told_when_to_come_again(outlets: Outlets) -> None:
    outlets.wait_s = 2.3
    answer = await outlets.ask(TRACK)
    assert (answer.status, dict(answer.headers)["retry-after"], outlets.taken) == (429, "3", [])


async def test_an_unknown_key_and_an_unreadable_call_change_nothing(outlets: Outlets) -> None:
    assert (await outlets.ask(TRACK, key="t")).status == 401
    for body in (b"", b"[", b"null", b"\xff", b'{"batch":3}', b"[" * 5_000):
        request = Request("POST", "/v1/batch", "writeKey=s", {}, body, 0)
        assert (await outlets.service.answer(request)).status == 400, body
    assert (await outlets.ask()).status == 200
    assert outlets.taken == []


async def test_events_of_erased_people_are_dropped_and_their_sender_is_told_nothing(outlets: Outlets) -> None:
    outlets.service = replace(outlets.service, erased={"ann"})
    of_bob = TRACK | {"userId": "bob", "messageId": "2"}
    answer = await outlets.ask(TRACK, of_bob)
    assert (answer.status, orjson.loads(answer.body)) == (200, {"success": True, "refused": [], "refused_items": 0})
    assert outlets.taken == ["event"]
    assert outlets.counts == Counter(accepted=1, dropped=1, patched=0, refused=0)
    assert (await outlets.ask(TRACK)).status == 200

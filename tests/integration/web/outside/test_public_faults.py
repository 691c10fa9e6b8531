"""The faults that others reported of their ingest, over HTTP against one running server: the answer, and what is kept.

`tests/unit/web/ingest/test_public_faults.py` has them by the function that reads.
"""

import gzip
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from drivers.web_edge import HttpReply, WebEdge

from schemas.events import Event

pytestmark = pytest.mark.servers

Fields = dict[str, Any]
BATCH, TRACK, IDENTIFY = "/v1/batch", "/v1/track", "/v1/identify"


def track(**fields: Any) -> Fields:
    return {"type": "track", "event": "Order Completed", "userId": "u1", "messageId": uuid.uuid4().hex} | fields


def batch(*items: Any) -> bytes:
    """A batch, with items that are bytes as they are."""
    texts = [item if isinstance(item, bytes) else orjson.dumps(item) for item in items]
    return b'{"batch":[' + b",".join(texts) + b"]}"


@dataclass
class Answered:
    """What a call got, and what it left on `events`."""

    reply: HttpReply
    events: list[Event]

    @property
    def refused(self) -> list[int]:
        """The places of the refused items."""
        return [each["index"] for each in self.reply.json["refused"]]


def taken(events: int, *refused: int) -> Callable[[Answered], bool]:
    """So many events are written, and 200 lists these places as refused."""
    return lambda found: (found.reply.status, len(found.events), found.refused) == (200, events, list(refused))


def none(status: int, field: str) -> Callable[[Answered], bool]:
    """Nothing is written, and the answer names the field."""
    return lambda found: (found.reply.status, found.events) == (status, []) and field.encode() in found.reply.body


def is_now(event: Event) -> bool:
    return abs(datetime.now(UTC) - event.time) < timedelta(minutes=1)


FAULTS: dict[str, tuple[str, Any, Callable[[Answered], bool]]] = {
    "PostHog/posthog#17297: U+0000 in a trait": (
        IDENTIFY,
        {"userId": "u1", "traits": {"email": "\0"}},
        none(400, "traits"),
    ),
    "PostHog/posthog#1407: a misplaced id": (
        TRACK,
        {"event": "a", "properties": {"distinct_id": "u1", "userId": "u1"}},
        none(400, "userId"),
    ),
    "segmentio/analytics-node#313: 535,982 bytes": (
        BATCH,
        batch(*[track(properties={"text": "x" * 26_600}) for _ in range(21)]),
        taken(21),
    ),
    "segmentio/analytics-python#97: more than 100 items": (BATCH, batch(*[track() for _ in range(600)]), taken(600)),
    "rudderlabs/rudder-server#3051: ids that are numbers": (
        TRACK,
        track(userId=42, anonymousId=43),
        lambda found: [(event.user_id, event.anonymous_id) for event in found.events] == [("42", "43")],
    ),
    "rudderlabs/rudder-sdk-android#486: an item of one character": (BATCH, batch(track(), "x", track()), taken(2, 1)),
    "rudderlabs/rudder-sdk-android#486: no JSON for one character": (BATCH, batch(track(), b"x"), none(400, "body")),
    "rudderlabs/rudder-server#4556: an item without its fields": (
        BATCH,
        batch({}, track(), {"type": {}}, None, []),
        taken(1, 0, 2, 3, 4),
    ),
    "jitsucom/jitsu#772: one malformed event": (
        BATCH,
        batch(track(), b'{"type":"track","event":"a","userId":"u1","properties":{"a":1e400}}', track()),
        taken(2, 1),
    ),
    "PostHog/posthog#38996: a bomb": (BATCH, gzip.compress(b" " * 100_000_000), none(413, "body")),
    "Metabuilder-Labs/tokenjam#365: gzip without its header": (BATCH, gzip.compress(batch(track())), taken(1)),
    "grafana/grafana#107202: what stands for a missing id": (
        BATCH,
        batch(track(userId="@https://play.example.org"), track(userId="undefined"), track()),
        taken(1, 0, 1),
    ),
    "PostHog/posthog#30579: a time far ahead": (
        TRACK,
        track(timestamp="2099-01-01T00:00:00Z"),
        lambda found: [is_now(event) for event in found.events] == [True],
    ),
}


class FaultSource:
    """A source with a key."""

    def __init__(self, edge: WebEdge) -> None:
        self.name = f"fault-{uuid.uuid4().hex[:8]}"
        self.key = edge.new_key(self.name)
        self._edge = edge
        self._seen: set[str] = set()

    def post(self, path: str, call: Any) -> Answered:
        """What a call gets, and what it leaves."""
        reply = self._edge.post(path, self.key, call)
        events = [event for event in self._edge.events(self.name) if event.id not in self._seen]
        self._seen |= {event.id for event in events}
        return Answered(reply, events)


@pytest.fixture(scope="module")
def source(edge: WebEdge) -> FaultSource:
    return FaultSource(edge)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_reported_fault_loses_nothing_here(source: FaultSource, fault: str) -> None:
    path, call, is_right = FAULTS[fault]
    found = source.post(path, call)
    assert is_right(found), (found.reply, len(found.events))


def test_an_unknown_key_is_told_so_and_nothing_is_stored(edge: WebEdge, source: FaultSource) -> None:
    """PostHog/posthog#1407"""
    call = track(event="Nobody's")
    assert edge.post(TRACK, source.key[:-1], call).status == 401
    assert [event for event in edge.events(source.name) if event.type == "nobody_s"] == []


def test_an_id_that_two_sources_use_is_two_events(edge: WebEdge, source: FaultSource) -> None:
    """segmentio/analytics-ruby#241"""
    call = track(messageId="ajs-next-bebb1042")
    found = [each.post(TRACK, call) for each in (source, FaultSource(edge))]
    assert [each.reply.status for each in found] == [200, 200]
    assert len({event.id for each in found for event in each.events}) == 2

"""Segment's calls: what each becomes."""

import json
from datetime import timedelta
from typing import Any

import orjson
import pytest
from drivers.ingest_calls import (
    BROWSER,
    NOW,
    NOW_US,
    RULES,
    SERVER,
    batch,
    event_of,
    outcome_of,
    read_back,
    reading_of,
    refusal_of,
    track,
)

from web.ingest.ids import event_id
from web.ingest.items import MOST_ITEMS
from web.ingest.reading import CallProblem, Reading
from web.keys.write_key import WriteKey
from web.profiles.patches import IdentityLink, ProfilePatch

HOUR_AGO = (NOW - timedelta(hours=1)).isoformat()


def test_a_track_call_is_an_event() -> None:
    event = event_of(
        "/v1/track",
        track(
            anonymousId="v1",
            messageId="m1",
            timestamp=HOUR_AGO,
            properties={"total": 49.5},
            context={"ip": "192.0.2.1"},
        ),
    )
    assert event.id == "shop#m1"
    assert event.type == "order_completed"
    assert (event.user_id, event.anonymous_id) == ("u1", "v1")
    assert event.time == NOW - timedelta(hours=1)
    assert event.properties == {"total": 49.5}
    assert event.context == {"ip": "192.0.2.1", "original_name": "Order Completed"}
    assert event.source == "shop"


def test_an_event_without_an_id_gets_one_and_without_a_time_the_time_received() -> None:
    event = event_of("/v1/t", track("signed_up", messageId="", properties=None, context=None))
    assert (event.id, event.time, event.properties, event.context) == ("made", NOW, {}, {})


def test_a_visitor_is_the_user_of_its_events_until_it_is_known() -> None:
    (record,) = reading_of("/v1/track", track(userId="", anonymousId="v1")).events
    assert record.anonymous
    assert read_back(record).user_id == read_back(record).anonymous_id == "v1"
    (record,) = reading_of("/v1/track", track(anonymousId="v1")).events
    assert not record.anonymous


@pytest.mark.parametrize(
    ("path", "call", "event_type", "properties"),
    [
        ("/v1/page", {"name": "Home", "category": "Docs"}, "page_viewed", {"name": "Home", "category": "Docs"}),
        ("/v1/p", {"name": None, "properties": {"url": "/"}}, "page_viewed", {"url": "/"}),
        (
            "/v1/page",
            {"name": "Home", "properties": {"name": "x", "url": "/"}},
            "page_viewed",
            {"name": "Home", "url": "/"},
        ),
        ("/v1/screen", {"name": "Cart", "properties": {}}, "screen_viewed", {"name": "Cart"}),
        ("/v1/group", {"groupId": 5, "traits": {"plan": "pro"}}, "group_joined", {"group_id": "5", "plan": "pro"}),
        ("/v1/g", {"groupId": "g", "traits": None}, "group_joined", {"group_id": "g"}),
    ],
)
def test_pages_screens_and_groups_are_events_of_fixed_types(
    path: str, call: dict[str, Any], event_type: str, properties: dict[str, Any]
) -> None:
    event = event_of(path, {"userId": "u1", **call})
    assert (event.type, event.properties, event.context) == (event_type, properties, {})


def test_identify_is_a_patch_and_a_link() -> None:
    reading = reading_of(
        "/v1/identify",
        {"userId": "u1", "anonymousId": "v1", "timestamp": HOUR_AGO, "traits": {"email": "a@b.example", "plan": None}},
    )
    time_us = NOW_US - 3_600_000_000
    assert reading == Reading(
        patches=[ProfilePatch("u1", time_us, "shop", {"address": "a@b.example"}, {"plan": None})],
        links=[IdentityLink("v1", "u1", time_us, by_server=True)],
    )


def test_identify_takes_traits_from_the_context_too_and_prefers_its_own() -> None:
    call = {"userId": "u1", "traits": {"plan": "pro"}, "context": {"traits": {"plan": "free", "size": 3}, "ip": "x"}}
    (patch,) = reading_of("/v1/i", call).patches
    assert patch.attributes == {"plan": "pro", "size": 3}
    call = {"userId": "u1", "context": None, "traits": {"plan": "pro"}}
    assert reading_of("/v1/i", call).patches[0].attributes == {"plan": "pro"}


def test_identify_without_traits_or_another_id_says_nothing() -> None:
    for call in ({"userId": "u1"}, {"userId": "u1", "anonymousId": "u1"}, {"anonymousId": "v1", "traits": {}}):
        reading = reading_of("/v1/identify", call)
        assert reading == Reading()
        assert reading.is_empty


def test_a_visitor_may_have_a_profile_before_it_is_known() -> None:
    (patch,) = reading_of("/v1/identify", {"anonymousId": "v1", "traits": {"email": "a@b.example"}}).patches
    assert patch.user_id == "v1"


def test_an_identify_that_is_refused_links_nothing() -> None:
    call = {"userId": "u1", "anonymousId": "v1", "traits": {"email": "no address"}}
    assert refusal_of("/v1/identify", call) == ("traits.email", "not a plain mail address")


def test_alias_is_a_link() -> None:
    reading = reading_of("/v1/alias", {"userId": "u1", "previousId": "v1", "timestamp": HOUR_AGO})
    assert reading == Reading(links=[IdentityLink("v1", "u1", NOW_US - 3_600_000_000, by_server=True)])


class TestABrowserKey:
    def test_writes_events_of_visitors_and_of_users(self) -> None:
        assert event_of("/v1/t", track(), BROWSER).user_id == "u1"
        assert event_of("/v1/p", {"anonymousId": "v1"}, BROWSER).user_id == "v1"

    def test_links_a_visitor_at_login_and_sets_no_traits(self) -> None:
        reading = reading_of(
            "/v1/i", {"userId": "u1", "anonymousId": "v1", "traits": {"email": "a@b.example"}}, BROWSER
        )
        assert reading.links == [IdentityLink("v1", "u1", NOW_US, by_server=False)]
        assert reading.patches == reading.events == []
        (refusal,) = reading.refused
        assert refusal.field == "traits"

    @pytest.mark.parametrize("ids", [{"userId": "u1"}, {"anonymousId": "u1"}])
    @pytest.mark.parametrize("traits", [{"email": None}, {"plan": "pro"}, {"consent": {}}])
    def test_sets_no_traits_of_users_or_visitors(self, ids: dict[str, str], traits: dict[str, Any]) -> None:
        """A visitor's id may be a user's too."""
        assert refusal_of("/v1/identify", ids | {"traits": traits}, BROWSER)[0] == "traits"
        assert refusal_of("/v1/identify", ids | {"context": {"traits": traits}}, BROWSER)[0] == "traits"

    def test_makes_no_alias(self) -> None:
        assert refusal_of("/v1/alias", {"userId": "u1", "previousId": "v1"}, BROWSER)[0] == "type"


@pytest.mark.parametrize(
    ("path", "call", "field"),
    [
        ("/v1/track", {"userId": "u1"}, "event"),
        ("/v1/track", track(event=None), "event"),
        ("/v1/track", track(event=7), "event"),
        ("/v1/track", track(event=""), "event"),
        ("/v1/track", track(event="日本語"), "event"),
        ("/v1/track", track(userId=None), "userId"),
        ("/v1/track", track(userId=""), "userId"),
        ("/v1/track", track(userId=True), "userId"),
        ("/v1/track", track(userId=["u1"]), "userId"),
        ("/v1/track", track(userId="u" * 257), "userId"),
        ("/v1/track", track(userId="a\nb"), "userId"),
        ("/v1/track", track(userId="undefined"), "userId"),
        ("/v1/track", track(userId="[object Object]"), "userId"),
        ("/v1/track", track(userId=1.5), "userId"),
        ("/v1/track", track(userId=2**64), "userId"),
        ("/v1/track", track(anonymousId="null"), "anonymousId"),
        ("/v1/track", track(messageId="m" * 257), "messageId"),
        ("/v1/track", track(timestamp="yesterday"), "timestamp"),
        ("/v1/track", track(timestamp=1764000000), "timestamp"),
        ("/v1/track", track(originalTimestamp=""), "originalTimestamp"),
        ("/v1/track", track(properties=[]), "properties"),
        ("/v1/track", track(properties="x"), "properties"),
        ("/v1/track", track(properties={"a": "\0"}), "properties"),
        ("/v1/track", track(properties={"a\0": 1}), "properties"),
        ("/v1/track", track("signed_up", context=[1]), "context"),
        ("/v1/track", track("Signed Up", context=[1]), "context"),
        ("/v1/track", track(context={"a": "\0"}), "context"),
        ("/v1/page", {"userId": "u1", "name": "x", "properties": 1}, "properties"),
        ("/v1/page", {"userId": "u1", "name": ["x"]}, "name"),
        ("/v1/group", {"userId": "u1", "traits": []}, "traits"),
        ("/v1/group", {"userId": "u1", "groupId": "g", "traits": []}, "traits"),
        ("/v1/group", {"userId": "u1", "groupId": {}}, "groupId"),
        ("/v1/identify", {"traits": {"a": 1}}, "userId"),
        ("/v1/identify", {"userId": "u1", "traits": []}, "traits"),
        ("/v1/identify", {"userId": "u1", "traits": {"a\0": 1}}, "traits"),
        ("/v1/identify", {"userId": "u1", "context": []}, "context"),
        ("/v1/identify", {"userId": "u1", "context": {"traits": 1}}, "context.traits"),
        ("/v1/alias", {"userId": "u1"}, "previousId"),
        ("/v1/alias", {"previousId": "u1"}, "userId"),
        ("/v1/alias", {"userId": "u1", "previousId": "u1"}, "previousId"),
        ("/v1/track", [], "item"),
        ("/v1/track", "x", "item"),
        ("/v1/track", None, "item"),
    ],
)
def test_a_call_that_cannot_be_kept_is_refused_with_its_field(path: str, call: Any, field: str) -> None:
    assert refusal_of(path, call)[0] == field


def test_numbers_are_ids_as_text() -> None:
    for number, text in ((7, "7"), (7.0, "7"), (-1, "-1"), (2**64 - 1, str(2**64 - 1)), (0, "0")):
        assert event_of("/v1/track", track(userId=number, anonymousId=number)).user_id == text


def test_a_message_s_id_counts_within_its_source() -> None:
    assert event_of("/v1/track", track(messageId="m1"), BROWSER).id == "web#m1"
    assert event_of("/v1/track", track(messageId="m1")).id == event_id("shop", "m1") == "shop#m1"
    long = event_of("/v1/track", track(messageId="m" * 256)).id
    assert long == event_id("shop", "m" * 256) != event_id("web", "m" * 256)
    assert len(long) <= 256


def test_a_correction_by_sent_at_is_kept_in_the_context() -> None:
    call = track("signed_up", originalTimestamp=HOUR_AGO, sentAt=(NOW - timedelta(minutes=30)).isoformat())
    event = event_of("/v1/track", call)
    assert event.time == NOW - timedelta(minutes=30)
    assert event.context == {"original_time": HOUR_AGO}


@pytest.mark.parametrize("key", [SERVER, BROWSER])
@pytest.mark.parametrize("name", ["original_name", "original_time", "catalogue_problems", "forwarded_from"])
@pytest.mark.parametrize("usual", [{}, {"messageId": "m1", "timestamp": NOW.isoformat()}])
def test_what_is_kept_in_the_context_cannot_be_sent(key: WriteKey, name: str, usual: dict[str, str]) -> None:
    rest = f'"x": {{"{name}": 1.0}}, "\\u00e9": 1.0'
    for sent in (name, f"\\u{ord(name[0]):04x}{name[1:]}", name.replace("_", "\\u005F")):
        call = json.dumps(track("signed_up", **usual))
        context = f'{{"{sent}": "a", {rest}, "{sent}": ["forged"]}}'
        reading = outcome_of("/v1/track", f'{call[:-1]}, "context": {context}}}'.encode(), key)
        assert isinstance(reading, Reading)
        (record,) = reading.events
        assert read_back(record).context == {"x": {name: 1.0}, "é": 1.0}


def test_what_ebbtide_says_in_the_context_stands_in_place_of_what_was_sent() -> None:
    event = event_of("/v1/track", track(context={"original_name": "Forged", "x": 1}))
    assert event.context == {"original_name": "Order Completed", "x": 1}
    event = event_of("/v1/track", track("signed_up", context={"original_name": "Forged"}))
    assert event.context == {}


def test_each_item_of_a_batch_is_taken_or_refused_by_itself() -> None:
    body = batch(track(), 1, track(event=""), {"type": "merge"}, {}, track(userId="u2"), sentAt=None)
    reading = outcome_of("/v1/batch", body)
    assert isinstance(reading, Reading)
    assert [record.key for record in reading.events] == [b"u1", b"u2"]
    assert [(each.index, each.field) for each in reading.refused] == [
        (1, "item"),
        (2, "event"),
        (3, "type"),
        (4, "type"),
    ]


def test_the_places_of_patches_and_links_are_those_of_their_items() -> None:
    identify = {"type": "identify", "userId": "u1", "anonymousId": "v1", "traits": {"plan": "pro"}}
    body = batch(track(), identify, 1, {"type": "alias", "userId": "u1", "previousId": "v1"})
    reading = outcome_of("/v1/batch", body)
    assert isinstance(reading, Reading)
    assert [reading.place_of(each) for each in (*reading.patches, *reading.links)] == [1, 1, 3]


def test_the_sent_at_of_a_batch_counts_for_its_items() -> None:
    body = batch(track(timestamp=HOUR_AGO), sentAt=HOUR_AGO)
    reading = outcome_of("/v1/import", body)
    assert isinstance(reading, Reading)
    assert read_back(reading.events[0]).time == NOW


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, "body"),
        (b"{", 400, "body"),
        (b"[]", 400, "body"),
        (b"{}", 400, "body"),
        (b'{"batch":{}}', 400, "batch"),
        (b'{"batch":null}', 400, "batch"),
        (b'{"batch":[{"a":NaN}]', 400, "body"),
        (b'{"batch":' + b"[" * 100_000, 400, "body"),
        (b'{"batch":[' + b"1," * MOST_ITEMS + b"1]}", 413, "batch"),
        (b'{"batch":[' + b"1," * 2_000_000 + b"1]}", 413, "batch"),
    ],
)
def test_a_body_whose_items_cannot_be_told_apart_is_a_problem(body: bytes, status: int, field: str) -> None:
    problem = outcome_of("/v1/batch", body)
    assert isinstance(problem, CallProblem)
    assert (problem.status, problem.field) == (status, field)


@pytest.mark.parametrize(
    "call",
    [
        {"type": "track", "event": "Signed Up", "properties": {}, "context": {"ip": "192.0.2.1"}},
        {"type": "group", "traits": {}},
        {"type": "identify", "traits": {}},
    ],
)
def test_an_item_with_more_than_32_kib_of_free_json_is_refused_by_itself(call: dict[str, Any]) -> None:
    free = next(name for name in ("properties", "traits") if name in call)
    room = RULES.item_bytes - sum(len(orjson.dumps(call[name])) for name in (free, "context") if name in call)
    name = '"a":""'
    fits, exceeds = ({"userId": "u1", **call, free: {"a": "x" * (room - len(name) + more)}} for more in (0, 1))
    reading = outcome_of("/v1/batch", batch(fits, exceeds, fits))
    assert isinstance(reading, Reading)
    assert len(reading.events) + len(reading.patches) == 2
    assert [(each.index, each.field) for each in reading.refused] == [(1, "item")]


def test_a_refusal_repeats_no_value() -> None:
    secret = "s3cret"
    for call in (
        track(userId=f"{secret}\n"),
        track(event=f"日本語 {secret}"),
        track(timestamp=secret),
        track(properties=secret),
        track(properties={secret: "\0"}),
        {"type": secret},
        {"type": "identify", "userId": "u1", "traits": {secret: "\0"}},
        {"type": "identify", "userId": "u1", "traits": {"email": secret, "timezone": secret}},
        {"type": "identify", "userId": "u1", "traits": {"timezone": secret}},
        {"type": "identify", "userId": "u1", "traits": {"consent": {secret: 1}}},
        {"type": "identify", "userId": "u1", "context": secret},
    ):
        reading = outcome_of("/v1/batch", batch(call))
        assert isinstance(reading, Reading)
        assert len(reading.refused) == 1
        assert secret not in repr(reading)


def test_the_context_of_a_batch_counts_for_each_item_whose_own_members_stay() -> None:
    """Also in the quick reading of usual tracks, and beside an item that is wrong."""
    shared = {"ip": "192.0.2.1", "library": {"name": "sdk"}, "original_time": "forged"}
    own = {"ip": "192.0.2.7"}
    items = [
        track("signed_up", messageId="m1", timestamp=HOUR_AGO, context=own),
        track("signed_up", context=None),
        {"type": "page", "userId": "u1", "context": {}},
        track("signed_up", context="none"),
        track(5),
    ]
    reading = reading_of("/v1/batch", {"batch": items, "context": shared})
    assert [read_back(record).context for record in reading.events] == [
        {"ip": "192.0.2.7", "library": {"name": "sdk"}},
        {"ip": "192.0.2.1", "library": {"name": "sdk"}},
        {"ip": "192.0.2.1", "library": {"name": "sdk"}},
    ]
    assert [(each.index, each.field) for each in reading.refused] == [(3, "context"), (4, "event")]
    [patch] = reading_of(
        "/v1/batch",
        {"batch": [{"type": "identify", "userId": "u1"}], "context": {"traits": {"plan": "pro"}}},
    ).patches
    assert patch.attributes == {"plan": "pro"}
    assert len(reading_of("/v1/batch", {"batch": items[:3], "context": None}).events) == 3
    wrong = reading_of("/v1/batch", {"batch": items[:2], "context": [shared]})
    assert [each.field for each in wrong.refused] == ["context", "context"]


def test_the_context_of_a_batch_is_bounded_over_all_items() -> None:
    def read(size: int) -> Reading | CallProblem:
        items = [track("signed_up")] * 200
        return outcome_of("/v1/batch", json.dumps({"batch": items, "context": {"a": "x" * size}}).encode())

    assert isinstance(read(20_000), Reading)
    problem = read(21_000)
    assert isinstance(problem, CallProblem)
    assert (problem.status, problem.field) == (413, "context")

"""Calls of SDKs against the whole edge: what is answered with 200 is in Kafka and in the profiles, and what is not."""

import gzip
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.running_web import RunningWeb, new_key, running_web

from web.keys.write_key import KeyClass

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def web(servers: RealServers) -> Iterator[RunningWeb]:
    url = servers.create_database()
    with running_web(servers.kafka, url, http_timeout_s=2.0, body_bytes=1_000_000) as running:
        yield running
    servers.drop_database(url)


@pytest.fixture
def user() -> str:
    return f"user-{uuid.uuid4().hex}"


def track(user: str, **more: Any) -> dict[str, Any]:
    return {"userId": user, "event": "Order Completed", "messageId": uuid.uuid4().hex, **more}


def test_a_call_is_in_kafka_when_it_is_answered(web: RunningWeb, user: str) -> None:
    told = web.ask("/v1/track", track(user, properties={"total": 5}))
    assert (told.status, told.json) == (200, {"success": True, "refused": [], "refused_items": 0})
    [event] = web.events(user)
    assert (event["type"], event["properties"], event["source"]) == ("order_completed", {"total": 5}, "server source")


def test_a_batch_with_one_good_item_is_taken_and_names_the_others(web: RunningWeb, user: str) -> None:
    items = [{"type": "track", **track(user)}, {"type": "track", "userId": user}, {"type": "dance", "userId": user}]
    told = web.ask("/v1/batch", {"batch": items})
    assert told.status == 200
    assert [(each["index"], each["field"]) for each in told.json["refused"]] == [(1, "event"), (2, "type")]
    assert len(web.events(user)) == 1


def test_a_call_of_which_nothing_can_be_taken_is_refused_and_says_why(web: RunningWeb, user: str) -> None:
    told = web.ask("/v1/track", {"userId": user, "event": "secret\0word" * 40})
    assert (told.status, told.json["success"], told.json["refused"][0]["field"]) == (400, False, "event")
    assert b"secret" not in told.body
    assert web.events(user) == []


def test_only_some_refusals_are_listed(web: RunningWeb) -> None:
    told = web.ask("/v1/batch", {"batch": [{}] * 500})
    assert (told.status, len(told.json["refused"]), told.json["refused_items"]) == (400, 100, 500)


def test_gzip_is_inflated_and_a_bomb_is_not(web: RunningWeb, user: str) -> None:
    body = gzip.compress(json.dumps({"batch": [{"type": "track", **track(user)}] * 3}).encode())
    assert web.ask("/v1/batch", body, Content_Encoding="gzip").status == 200
    assert len(web.events(user)) == 3
    assert web.ask("/v1/batch", gzip.compress(b"[" * 200_000_000, 1), Content_Encoding="gzip").status == 413
    assert web.ask("/v1/batch", body[:-20], Content_Encoding="gzip").status == 400
    assert web.ask("/v1/batch", b"{}", Content_Encoding="br").status == 415


@pytest.mark.parametrize("key", ["", "unknown", "x" * 5_000])
def test_without_a_valid_key_nothing_is_taken(web: RunningWeb, user: str, key: str) -> None:
    told = web.ask("/v1/track", track(user), key=key)
    assert (told.status, told.json["field"]) == (401, "writeKey")
    assert web.events(user) == []


def test_the_key_may_stand_in_the_body_or_in_the_query(web: RunningWeb, user: str) -> None:
    assert web.ask("/v1/track", track(user, writeKey=web.server_key), key="").status == 200
    assert web.ask(f"/v1/track?writeKey={web.server_key}", track(user), key="").status == 200
    assert len(web.events(user)) == 2


def test_a_browser_key_serves_its_own_pages_only(web: RunningWeb, user: str) -> None:
    for origin, status in (("https://shop.example", 200), ("https://evil.example", 403)):
        told = web.ask("/v1/t", track(user), key=web.browser_key, Origin=origin)
        assert (told.status, told.headers["access-control-allow-origin"]) == (status, "*")
    assert web.ask("/v1/t", track(user), key=web.browser_key).status == 403
    assert len(web.events(user)) == 1


def test_a_preflight_is_allowed_and_retry_after_exposed(web: RunningWeb) -> None:
    told = web.ask("/v1/t", method="OPTIONS", key="", Access_Control_Request_Headers="authorization")
    assert told.status == 204
    assert "authorization" in told.headers["access-control-allow-headers"]
    assert told.headers["access-control-expose-headers"] == "retry-after"


def test_traits_are_in_the_profile_when_they_are_answered(web: RunningWeb, user: str) -> None:
    assert web.ask("/v1/identify", {"userId": user, "traits": {"plan": "pro"}}).status == 200
    shown = web.ask(f"/v1/users/{user}")
    assert (shown.status, shown.json["attributes"]["plan"]["value"]) == (200, "pro")
    assert web.ask(f"/v1/users/{user}", key="").status == 401


def test_a_limited_key_is_told_when_to_come_again(web: RunningWeb, user: str) -> None:
    key = new_key(web.settings.database_url, KeyClass.SERVER, events_per_s=5)
    wait_until(lambda: web.ask("/v1/track", track(user), key=key).status == 200, "the key is known, and has a share")
    told = [web.ask("/v1/track", track(user), key=key) for _ in range(30)]
    limited = [each for each in told if each.status == 429]
    assert limited
    assert 31 - len(limited) == len(web.events(user))
    assert all(int(each.headers["retry-after"]) >= 1 for each in limited)


@pytest.mark.parametrize("path", ["/v1/track/", "/v1/nothing", "/nothing", "//v1/track", "/v1", "/beacon/x"])
def test_no_path_is_redirected(web: RunningWeb, user: str, path: str) -> None:
    assert web.ask(path, track(user)).status in (200, 404)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "CONNECT"])
def test_other_methods_are_refused(web: RunningWeb, method: str) -> None:
    assert web.ask("/v1/track", method=method).status in (400, 405)


def test_browser_sdks_get_their_documents(web: RunningWeb) -> None:
    told = web.ask(f"/v1/projects/{web.browser_key}/settings", key="")
    assert told.json["integrations"]["Segment.io"]["apiKey"] == web.browser_key
    assert web.ask(f"/sourceConfig/?writeKey={web.browser_key}", key="").json["source"]["enabled"] is True
    assert web.ask(f"/v1/projects/{web.server_key}/settings", key="").status == 401
    assert web.ask("/v1/projects/x/settings", method="POST").status == 405


def test_openapi_describes_each_call(web: RunningWeb) -> None:
    document = web.ask("/v1/openapi.json", key="").json
    assert document["openapi"] == "3.1.0"
    assert {"/v1/track", "/v1/batch", "/v1/identify", "/v1/events"} <= document["paths"].keys()
    names = set(document["components"]["schemas"])
    assert {"TrackBody", "FailureBody"} <= names
    references = json.dumps(document).split('"#/components/schemas/')[1:]
    assert {each.partition('"')[0] for each in references} <= names

"""The SDKs that services and pages already have, unmodified, feed `ebbtide run web`; both topics are counted."""

import uuid
from collections import Counter
from collections.abc import Callable

import pytest
from drivers.running_senders import wait_until
from drivers.stock_sdks import (
    Call,
    SdkReport,
    rudder_python,
    segment_browser,
    segment_node,
    segment_page,
    segment_python,
)
from drivers.web_edge import WebEdge

from schemas.events import Event
from schemas.profiles import Profile
from web.keys.write_key import KeyClass

pytestmark = pytest.mark.servers


def a_day(user: str, visitor: str) -> list[Call]:
    """One call of each kind, and a second event, each with an id of its own."""
    calls: list[Call] = [
        ("identify", {"userId": user, "traits": {"email": f"{user}@shop.example", "plan": "gold"}}),
        ("track", {"userId": user, "event": "Order Completed", "properties": {"total": 9.5}}),
        ("track", {"userId": user, "event": "Product Added", "properties": {"sku": "42"}}),
        ("page", {"userId": user, "name": "Home", "properties": {"path": "/"}}),
        ("group", {"userId": user, "groupId": "acme", "traits": {"seats": 3}}),
        ("alias", {"previousId": visitor, "userId": user}),
    ]
    return [(name, {**fields, "messageId": f"{user}-{name}-{n}"}) for n, (name, fields) in enumerate(calls)]


@pytest.fixture(scope="module", autouse=True)
def publication(edge: WebEdge) -> None:
    """Both topics need it."""
    edge.publish()


def published(edge: WebEdge, user: str) -> Profile:
    found = wait_until(lambda: edge.profile(user), "the profile is published")
    assert found is not None
    return found


@pytest.mark.parametrize("sdk", [segment_python, rudder_python, segment_node])
def test_each_call_of_a_backend_becomes_what_it_says_once(edge: WebEdge, sdk: Callable[..., SdkReport]) -> None:
    user, source = f"user-{uuid.uuid4().hex[:8]}", f"{sdk.__name__}-{uuid.uuid4().hex[:8]}"
    calls = a_day(user, f"visitor-of-{user}")
    report = sdk(edge.host, edge.new_key(source), calls)
    assert sorted(report.delivered) == sorted(fields["messageId"] for _, fields in calls)
    assert report.failed == []
    events = {event.id: event for event in edge.events(source)}
    assert Counter(event.id for event in edge.events(source)) == dict.fromkeys(events, 1)
    assert Counter((event.user_id, event.type) for event in events.values()) == {
        (user, "order_completed"): 1,
        (user, "product_added"): 1,
        (user, "page_viewed"): 1,
        (user, "group_joined"): 1,
    }
    ordered = events[f"{source}#{user}-track-1"]
    assert (ordered.type, ordered.properties) == ("order_completed", {"total": 9.5})
    profile = published(edge, user)
    assert (profile.address, profile.attributes) == (f"{user}@shop.example", {"plan": "gold"})


def test_a_page_in_a_browser_tells_what_its_visitor_did_and_who_logged_in(edge: WebEdge) -> None:
    user, source = f"user-{uuid.uuid4().hex[:8]}", f"browser-{uuid.uuid4().hex[:8]}"
    with segment_page() as page:
        calls = [
            ["page", "Home"],
            ["track", "Product Added", {"sku": "42"}],
            ["identify", user],
            ["track", "Order Completed", {"total": 9.5}],
            ["group", "acme"],
        ]
        report = segment_browser(page, edge.host, edge.new_key(source, KeyClass.BROWSER, page), calls)
    assert (len(report.delivered), report.failed) == (len(calls), [])
    own = {f"{source}#{name}" for name in report.delivered}

    def written() -> list[Event]:
        return [event for event in edge.events(source) if event.id in own]

    wait_until(lambda: len(written()) >= len(own) + 1, "what the visitor did is the user's too")
    done_by = Counter((event.user_id, event.type) for event in written())
    assert done_by == {
        (report.anonymous, "page_viewed"): 1,
        (report.anonymous, "product_added"): 1,
        (user, "page_viewed"): 1,
        (user, "product_added"): 1,
        (user, "order_completed"): 1,
        (user, "group_joined"): 1,
    }
    assert {event.anonymous_id for event in written()} == {report.anonymous}


def test_a_browser_may_not_write_with_a_key_of_another_origin(edge: WebEdge) -> None:
    key = edge.new_key("elsewhere", KeyClass.BROWSER, "https://shop.example")
    with segment_page() as page:
        report = segment_browser(page, edge.host, key, [["track", "Product Added"]])
    assert (report.delivered, len(report.failed)) == ([], 1)
    assert edge.events("elsewhere") == []

"""The event catalogue in the calls of SDKs: what goes to Kafka, and what does not."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from drivers.ingest_calls import BROWSER, RULES, SERVER, batch, outcome_of, read_back, reading_of, track
from msgspec import Raw

from schemas.codec import decode
from schemas.events import Event
from triggers.language.catalogue_document import Catalogue
from web.ingest.catalogue import Applied, EnforcedCatalogue
from web.ingest.reading import ItemRefusal, Reading
from web.keys.write_key import WriteKey

FIELDS = {"*": {"email": "hash", "context.ip": "drop", "card.number": "drop"}}


def reading(enforce: str, *items: Any) -> Reading:
    """What is read in a batch where the catalogue has an event with a total."""
    described = {"order_completed": {"total": "number", "id": "text"}}
    catalogue = EnforcedCatalogue(
        Catalogue(described, {"order_completed": frozenset({"id"})}, enforce, FIELDS), "secret"
    )
    found = outcome_of("/v1/batch", batch(*items), rules=replace(RULES, catalogue=catalogue))
    assert isinstance(found, Reading)
    return found


def test_each_item_that_does_not_fit_is_refused_by_itself() -> None:
    found = reading(
        "reject",
        track(properties={"id": "1"}),
        track(properties={"id": "2", "total": "x"}),
        track("Order Complete"),
        track(),
    )

    assert [read_back(record).properties for record in found.events] == [{"id": "1"}]
    assert found.refused == [
        ItemRefusal(1, "properties.total", "is not a number"),
        ItemRefusal(2, "event", "is not in the catalogue"),
        ItemRefusal(3, "properties.id", "is missing"),
    ]


def test_tags_stand_in_the_context_beside_the_original_name() -> None:
    [record] = reading("tag", track(properties={"id": 1}, context={"catalogue_problems": "none"})).events

    event = read_back(record)
    assert event.properties == {"id": 1}
    assert event.context == {
        "original_name": "Order Completed",
        "catalogue_problems": ["properties.id is not a text"],
    }


def test_what_the_catalogue_drops_is_in_no_byte_of_the_record() -> None:
    properties = {"id": "1", "email": "ann@shop.example", "card": [{"number": "4111"}], "card.number": "4222"}
    item = track(properties=properties, context={"ip": "192.0.2.1", "locale": "de"})
    twice = orjson.dumps(item).replace(b'"id":"1"', b'"card":{"number":"4333"},"id":"1"')
    found = reading("off", item, twice)

    assert found.refused == []
    for record in found.events:
        event = read_back(record)
        assert event.context == {"locale": "de", "original_name": "Order Completed"}
        assert event.properties["card"] == [{}]
        assert not any(each in record.value for each in (b"ann@", b"4111", b"4222", b"4333", b"192.0.2.1"))


def test_an_event_without_properties_and_context_passes_the_rules() -> None:
    [record] = reading("off", track(properties=None, context=None)).events

    assert read_back(record).properties == {}


class CountedCatalogue(EnforcedCatalogue):
    """Notes of which types it was asked."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.asked: list[str] = []

    def apply(self, event_type: str, properties: bytes | Raw, context: bytes | Raw = b"{}") -> Applied | None:
        self.asked.append(event_type)
        return super().apply(event_type, properties, context)


def test_the_rules_of_every_event_are_applied_once_also_to_usual_tracks() -> None:
    catalogue = CountedCatalogue(Catalogue({}, {}, "tag", FIELDS), "secret")
    usual = track("signed_up", messageId="m1", timestamp="2026-11-29T09:00:00Z", properties={"card": {"number": "1"}})
    found = outcome_of("/v1/batch", batch(usual), rules=replace(RULES, catalogue=catalogue))
    assert isinstance(found, Reading)
    [record] = found.events
    event = read_back(record)
    assert (event.properties, event.context) == (
        {"card": {}},
        {"catalogue_problems": ["event is not in the catalogue"]},
    )
    assert catalogue.asked == ["signed_up"]


def without_user(path: str, item: Any, key: WriteKey = SERVER) -> Reading:
    catalogue = EnforcedCatalogue(Catalogue({"restocked": {}}, without_user=frozenset({"restocked"})), "")
    return reading_of(path, item, key, replace(RULES, catalogue=catalogue))


CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/stock", "type": "restocked", "data": {"product": "lamp"}}
TRACK = {"event": "Restocked", "messageId": "1", "properties": {"product": "lamp"}}


@pytest.mark.parametrize(("path", "item"), [("/v1/track", TRACK), ("/v1/events", CLOUD_EVENT)])
def test_an_event_that_concerns_no_user_needs_none_where_the_catalogue_says_so(path: str, item: dict[str, Any]) -> None:
    [record] = without_user(path, item).events
    event = decode(Event, record.value)
    assert (event.type, event.user_id, event.anonymous_id) == ("restocked", None, None)
    assert event.properties == {"product": "lamp"}
    assert (record.key, record.anonymous) == (None, False)
    assert reading_of(path, item).refused
    assert without_user(path, item | {"type" if "type" in item else "event": "sold_out"}).refused


@pytest.mark.parametrize(("path", "item"), [("/v1/track", TRACK), ("/v1/events", CLOUD_EVENT)])
def test_a_browser_key_sends_no_event_without_a_user(path: str, item: dict[str, Any]) -> None:
    found = without_user(path, item, BROWSER)
    assert found.is_empty
    assert "only a server key" in found.refused[0].reason


def test_an_event_that_concerns_no_user_may_have_one() -> None:
    [of_user] = without_user("/v1/track", TRACK | {"userId": "u1"}).events
    [of_visitor] = without_user("/v1/track", TRACK | {"anonymousId": "v1"}).events
    assert (of_user.key, of_user.anonymous) == (b"u1", False)
    assert (of_visitor.key, of_visitor.anonymous) == (b"v1", True)

"""What ingest does with events that do not fit the catalogue, and what it takes out of events."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from web.ingest.catalogue import Applied, EnforcedCatalogue, InvalidCatalogue, load_catalogue
from web.ingest.property_types import FieldProblem

EVENTS = """
events:
  signed_up: {}
  order_completed:
    order_id: {type: text, required: true}
    total: number
    gift: boolean
    placed_at: time
    items: list
    address: object
    note: any
"""
FIELDS = """
fields:
  "*": {email: hash, card.number: drop, context.ip: drop}
  order_completed: {items.secret: drop, phones: hash}
"""
SECRET = "a secret of the tests"


def catalogue(tmp_path: Path, text: str, secret: str | None = SECRET) -> EnforcedCatalogue:
    file = tmp_path / "events.yaml"
    file.write_text(text)
    return load_catalogue(file, secret)


def apply(found: EnforcedCatalogue, event: str, properties: Any, context: Any = None) -> Applied | None:
    return found.apply(event, json.dumps(properties).encode(), json.dumps(context or {}).encode())


def values(applied: Applied | None) -> Any:
    assert applied is not None
    return json.loads(bytes(applied.properties))


@pytest.mark.parametrize("event", ["order_completed", "no_such_event"])
def test_what_is_off_and_has_no_rules_goes_on_as_it_is(tmp_path: Path, event: str) -> None:
    assert apply(catalogue(tmp_path, EVENTS), event, {"total": "much"}) is None
    assert apply(catalogue(tmp_path, f'enforce: "off"\n{EVENTS}'), event, []) is None


@pytest.mark.parametrize(
    ("event", "properties"),
    [
        ("signed_up", {"anything": 1}),
        ("email.opened", {"trigger": "hello"}),
        ("order_completed", {"order_id": "1"}),
        ("order_completed", {"order_id": "1", "total": 1, "gift": False, "items": [{}], "address": {}, "note": []}),
        ("order_completed", {"order_id": "", "total": 1.5, "gift": None, "placed_at": "2026-02-28T10:00:00Z"}),
        ("order_completed", {"order_id": "1", "placed_at": "2026-12-31T10:00:00.123+02:00", "more": None}),
    ],
)
@pytest.mark.parametrize("enforce", ["tag", "reject"])
def test_an_event_that_fits_goes_on_as_it_is(tmp_path: Path, enforce: str, event: str, properties: Any) -> None:
    assert apply(catalogue(tmp_path, f"enforce: {enforce}\n{EVENTS}"), event, properties) is None


MISFITS = [
    ("order_complete", {}, "event", "is not in the catalogue"),
    ("order_completed", {}, "properties.order_id", "is missing"),
    ("order_completed", {"order_id": None}, "properties.order_id", "is missing"),
    ("order_completed", {"order_id": 1}, "properties.order_id", "is not a text"),
    ("order_completed", {"order_id": "1", "total": "1"}, "properties.total", "is not a number"),
    ("order_completed", {"order_id": "1", "total": True}, "properties.total", "is not a number"),
    ("order_completed", {"order_id": "1", "gift": 1}, "properties.gift", "is not true or false"),
    ("order_completed", {"order_id": "1", "items": {}}, "properties.items", "is not a list"),
    ("order_completed", {"order_id": "1", "address": []}, "properties.address", "is not an object"),
    *(
        (
            *("order_completed", {"order_id": "1", "placed_at": time}, "properties.placed_at"),
            "is not a time with an offset, as 2026-05-01T10:00:00Z",
        )
        for time in ("2026-02-30T10:00:00Z", "2026-02-28", "2026-02-28T10:00:00", 5, "0000-01-01T10:00:00Z")
    ),
    ("order_completed", [], "properties", "are not an object"),
]


@pytest.mark.parametrize(("event", "properties", "field", "reason"), MISFITS)
def test_a_misfit_is_refused_or_tagged_with_its_field(
    tmp_path: Path, event: str, properties: Any, field: str, reason: str
) -> None:
    refused = apply(catalogue(tmp_path, f"enforce: reject\n{EVENTS}"), event, properties)
    tagged = apply(catalogue(tmp_path, f"enforce: tag\n{EVENTS}"), event, properties)

    assert refused is not None
    assert refused.refusal == FieldProblem(field, reason)
    assert tagged is not None
    assert (tagged.refusal, tagged.tags, values(tagged)) == (None, (f"{field} {reason}",), properties)
    assert json.loads(b"{%s}" % tagged.note) == {"catalogue_problems": [f"{field} {reason}"]}


def test_all_that_does_not_fit_is_tagged(tmp_path: Path) -> None:
    tagged = apply(catalogue(tmp_path, f"enforce: tag\n{EVENTS}"), "order_completed", {"total": "x", "gift": "y"})

    assert tagged is not None
    assert [tag.split()[0] for tag in tagged.tags] == ["properties.order_id", "properties.total", "properties.gift"]


def test_a_name_that_no_decoder_takes_is_checked_all_the_same(tmp_path: Path) -> None:
    odd = catalogue(tmp_path, "enforce: reject\nevents: {signed_up: {'a\"b': number}}\n")

    assert apply(odd, "signed_up", {'a"b': 1}) is None
    refused = apply(odd, "signed_up", {'a"b': "1"})
    assert refused is not None
    assert refused.refusal == ('properties.a"b', "is not a number")


def test_fields_are_dropped_and_hashed_wherever_they_stand(tmp_path: Path) -> None:
    found = catalogue(tmp_path, EVENTS + FIELDS)
    properties = {
        "email": "ann@shop.example",
        "card": [{"number": 1, "type": "visa"}, {"number": 2}],
        "card.number": 3,
        "items": [{"secret": 1, "sku": "a"}, [{"secret": 2}]],
        "phones": ["1", "2", None],
    }
    applied = apply(found, "order_completed", properties, {"ip": "10.0.0.1", "locale": "de"})

    changed = values(applied)
    assert applied is not None
    assert json.loads(bytes(applied.context)) == {"locale": "de"}
    assert changed["card"] == [{"type": "visa"}, {}]
    assert changed["items"] == [{"sku": "a"}, [{}]]
    assert len(changed["email"]) == 32
    assert [value and len(value) for value in changed["phones"]] == [32, 32, None]
    assert set(changed) == {"email", "card", "items", "phones"}
    other = values(apply(found, "no_such_event", properties))
    assert (other["email"], other["phones"]) == (changed["email"], properties["phones"])


def test_a_hash_depends_on_the_key_and_on_the_type_of_the_value(tmp_path: Path) -> None:
    texts = [
        values(apply(catalogue(tmp_path, EVENTS + FIELDS, secret), "signed_up", {"email": value}))["email"]
        for secret, value in (("one secret", "1"), ("one secret", "1"), ("another secret", "1"), ("one secret", 1))
    ]

    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_what_every_event_drops_no_event_can_hash(tmp_path: Path) -> None:
    found = catalogue(tmp_path, 'events: {signed_up: {}}\nfields: {"*": {email: drop}, signed_up: {email: hash}}\n')

    assert values(apply(found, "signed_up", {"email": "a"})) == {}


def test_a_field_that_stands_twice_in_the_text_does_not_slip_through(tmp_path: Path) -> None:
    found = catalogue(tmp_path, EVENTS + FIELDS)
    applied = found.apply("signed_up", Raw(b'{"card":{"number":41},"card":1,"\\u0063ard":{"number":42}}'))

    assert applied is not None
    assert applied.properties == b'{"card":{}}'


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b'{"a":1e999}', b'{"a":"\\ud800"}', b"[" * 100_000, b'{"a":' * 400]
)
def test_what_cannot_be_read_is_refused_where_a_rule_asks_for_it(tmp_path: Path, text: bytes) -> None:
    applied = catalogue(tmp_path, EVENTS + FIELDS).apply("signed_up", text)

    assert applied is not None
    assert applied.refusal == ("properties", "cannot be read")
    assert catalogue(tmp_path, EVENTS).apply("signed_up", text) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("events: {signed_up: {plan: string}}\n", r"events\.yaml:1:28: error: unknown type `string` \[invalid-value\]"),
        ("enforce: on\nevents: {}\n", r"events\.yaml:1:10"),
        ('events: {}\nfields: {"*": {email: hash}}\n', "set EBBTIDE_FIELD_HASH_KEY"),
    ],
)
def test_a_catalogue_that_is_wrong_stops_the_start_and_says_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidCatalogue, match=message):
        catalogue(tmp_path, text, None)


def test_a_file_that_is_not_there_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidCatalogue, match="EBBTIDE_EVENTS_CATALOGUE"):
        load_catalogue(tmp_path / "none.yaml", None)


def test_field_rules_of_a_privacy_file_hold_beside_those_of_the_catalogue(tmp_path: Path) -> None:
    (tmp_path / "events.yaml").write_text(
        "enforce: tag\nevents: {paid: {total: number}}\nfields: {paid: {note: drop}}\n"
    )
    (tmp_path / "privacy.yaml").write_text('fields: {"*": {ip: drop}, paid: {email: hash}}\n')
    found = load_catalogue(tmp_path / "events.yaml", SECRET, tmp_path / "privacy.yaml")
    applied = apply(found, "paid", {"total": 1, "note": "x", "ip": "::1", "email": "a@b.example"})
    assert applied is not None
    left = json.loads(bytes(applied.properties))
    assert left.keys() == {"total", "email"}
    assert left["email"] != "a@b.example"


def test_a_privacy_file_needs_no_catalogue(tmp_path: Path) -> None:
    file = tmp_path / "privacy.yaml"
    file.write_text("fields: {paid: {note: drop}}\n")
    found = load_catalogue(None, None, file)
    applied = apply(found, "paid", {"note": "x", "total": 1})
    assert applied is not None
    assert json.loads(bytes(applied.properties)) == {"total": 1}
    assert apply(found, "seen", {"note": "x"}) is None


def test_a_wrong_privacy_file_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "privacy.yaml"
    file.write_text("fields: {paid: {note: hide}}\n")
    with pytest.raises(InvalidCatalogue, match="privacy file does not load"):
        load_catalogue(None, None, file)

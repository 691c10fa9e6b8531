"""Reads CloudEvents 1.0 by HTTP: structured (JSON), binary (attributes in headers) and batch.

`subject` is the user, and `data` the properties, which must be an object. `source`, `dataschema` and the extensions
stand in `context`. `source` and `id` together identify an event, as the standard says.
"""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

import orjson
from msgspec import Raw
from msgspec.json import Decoder

from web.ingest.ids import event_id, id_text, person_id
from web.ingest.items import UNREADABLE, list_of, place_of
from web.ingest.moments import CallClock
from web.ingest.names import event_name
from web.ingest.reading import CallProblem, EventRecord, ItemRefusal, Reading, Refused
from web.ingest.records import ABSENT, Draft, finished, joined, require_no_user
from web.ingest.rules import ReadingRules
from web.keys.write_key import WriteKey

Attributes = dict[str, str | bool | int]
_PREFIX = "ce-"
_MEDIA_TYPE = "application/cloudevents"
_TEXTS = ("specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
_CONTEXT = frozenset({"source", "dataschema"})
"""Of the standard's own attributes, those that the event has no other place for."""
_NAME = re.compile(r"[a-z0-9]{1,64}")
_INTEGERS = range(-(2**31), 2**31)
_ESCAPED = re.compile(r"\\(.)")

_decode_members = Decoder(dict[str, Raw]).decode
_decode_raw = Decoder(Raw).decode
_decode_attribute = Decoder(str | bool | int | None).decode


def read_cloud_events(
    headers: Mapping[str, str], body: bytes, key: WriteKey, rules: ReadingRules, received_us: int
) -> Reading | CallProblem:
    """The events of one request; a problem if there are none to be told apart. Names of headers are in lower case."""
    reading, clock = Reading(), CallClock(received_us, None)
    binary = _is_binary(headers)
    items = [body] if binary or not body.lstrip().startswith(b"[") else list_of(body)
    if isinstance(items, CallProblem):
        return items
    for index, raw in enumerate(items):
        try:
            attributes, data = _of_headers(headers, raw) if binary else _of_members(raw)
            reading.events.append(_event(attributes, data, key, clock, rules))
        except Refused as refused:
            reading.refused.append(ItemRefusal(index, refused.field, refused.reason))
    return reading


def _is_binary(headers: Mapping[str, str]) -> bool:
    """Whether attributes are in headers. A structured event says so by its media type, and may repeat some there."""
    if headers.get("content-type", "").lower().startswith(_MEDIA_TYPE):
        return False
    return any(name.startswith(_PREFIX) for name in headers)


def _event(attributes: Attributes, data: Raw, key: WriteKey, clock: CallClock, rules: ReadingRules) -> EventRecord:
    texts = {name: _text(attributes, name) for name in _TEXTS}
    if texts["specversion"] != "1.0":
        raise Refused("specversion", "must be 1.0")
    user = person_id(texts["subject"], "subject")
    name = event_name(texts["type"] or "", "type")
    if user is None:
        require_no_user(name.type, rules, key, "subject", "is missing")
    time, original = clock.time_of(texts["time"], "time")
    origin, number = (id_text(_required(texts[each], each), each) for each in ("source", "id"))
    context = {each: value for each, value in attributes.items() if each in _CONTEXT or each not in _TEXTS}
    draft = Draft(
        event_id(key.source, f"{origin}#{number}"),
        name.type,
        user,
        time,
        None,
        data,
        Raw(orjson.dumps(context)),
        key.source,
    )
    return finished(draft, joined(name.note, original), rules, properties="data")


def _of_members(raw: Raw | bytes) -> tuple[Attributes, Raw]:
    """The attributes and the data of an event in JSON."""
    try:
        members = _decode_members(raw)
    except UNREADABLE as error:
        raise Refused(*place_of(error)) from None
    if "data_base64" in members:
        raise Refused("data_base64", "is not taken; send a JSON object as data")
    data = members.pop("data", ABSENT)
    return dict(_read_members(members)), data


def _read_members(members: dict[str, Raw]) -> Iterator[tuple[str, str | bool | int]]:
    for name, raw in members.items():
        field = _field(name)
        try:
            value = _decode_attribute(raw)
        except UNREADABLE:
            raise Refused(field, "must be text, a whole number or a boolean") from None
        if isinstance(value, int) and value not in _INTEGERS:
            raise Refused(field, "is a number of more than 32 bits")
        if value is not None:
            yield name, value


def _of_headers(headers: Mapping[str, str], body: Raw | bytes) -> tuple[Attributes, Raw]:
    """The attributes and the data of an event in binary mode."""
    attributes: Attributes = {}
    for header, value in headers.items():
        if header.startswith(_PREFIX):
            name = header.removeprefix(_PREFIX)
            attributes[name] = _unquoted(value, _field(name))
    try:
        return attributes, _decode_raw(body) if bytes(body).strip() else ABSENT
    except UNREADABLE:
        raise Refused("data", "must be a JSON object") from None


def _unquoted(value: str, field: str) -> str:
    """A header's value without quotes (RFC 9110, 5.6.4) and percent-encoding (HTTP Protocol Binding, 3.1.3.2)."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise Refused(field, "is not UTF-8 in percent-encoding") from None


def _field(name: str) -> str:
    """How a refusal names an attribute. The name of an extension is the sender's, so it is not repeated."""
    if name in _TEXTS:
        return name
    if not _NAME.fullmatch(name):
        raise Refused("extension", "must have a name of small letters and digits, at most 64")
    return "extension"


def _text(attributes: Attributes, name: str) -> str | None:
    value = attributes.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(name, "must be text")
    return value


def _required(text: str | None, name: str) -> str:
    if not text:
        raise Refused(name, "is missing")
    return text

"""Finished events: the bytes that go to Kafka, which every reader accepts as `schemas.events.Event`.

What a client sent in `properties` and `context` goes through as it came, so it is checked in the finished record: by
the quick decoder that the workers use, and by the model what that one does not take. Nobody can be told afterwards.
"""

from datetime import datetime

from msgspec import Raw, Struct
from msgspec.json import Encoder

from schemas.codec import DecodeError, decode, parse_json
from schemas.events import Event
from schemas.plain import plain_event
from web.ingest.reading import EventRecord, Refused
from web.ingest.rules import Correction, EventCatalogue, ReadingRules
from web.keys.write_key import KeyClass, WriteKey

ABSENT = Raw()
_NULL = b"null"
_NOTHING = b"{}"
_EMPTY = (b"", _NULL)
_SENT_AS = {"id": "messageId", "user_id": "userId", "anonymous_id": "anonymousId"}
_BRACE = ord("{")
_NO_MEMBER = b"{ \t\r\n"
"""What may stand before the last brace of an object without members."""


class Draft(Struct, omit_defaults=True, gc=False):
    """An event as it is written, its fields as in `Event`."""

    id: str
    type: str
    user_id: str | None
    time: datetime
    anonymous_id: str | None = None
    properties: Raw = ABSENT
    context: Raw = ABSENT
    source: str = ""


encode_draft = Encoder().encode


def finished(
    draft: Draft, notes: bytes, rules: ReadingRules, anonymous: bool = False, properties: str = "properties"
) -> EventRecord:
    """The event as it goes to Kafka. Raises Refused if the catalogue keeps it out or no reader would accept it.

    `notes` are members for the context, and `properties` is the field of the call that the properties come from.
    """
    if rules.catalogue is not None:
        notes = joined(notes, _corrected(draft, rules.catalogue))
    sent = draft.context
    if notes:
        draft.context = with_members(sent, notes, "context")
    value = encode_draft(draft)
    if plain_event(value) is None:
        _require_readable(value, draft, properties)
    if len(value) > rules.item_bytes:
        require_size(rules.item_bytes, draft.properties, sent)
    return EventRecord(None if draft.user_id is None else draft.user_id.encode(), value, anonymous)


def require_no_user(event_type: str, rules: ReadingRules, key: WriteKey, field: str, reason: str) -> None:
    """Raises Refused, with this field and reason, if an event without a user must have one.

    Such an event may meet many users, and everybody has a browser key.
    """
    if rules.catalogue is None or not rules.catalogue.may_lack_user(event_type):
        raise Refused(field, reason)
    if key.key_class is KeyClass.BROWSER:
        raise Refused(field, f"{reason}; only a server key sends events without a user")


def require_size(limit: int, *parts: Raw) -> None:
    """Raises Refused if the parts of an item have more bytes than `limit`."""
    if sum(len(bytes(part)) for part in parts) > limit:
        raise Refused("item", f"has more than {limit} bytes of properties, context and traits")


def joined(notes: bytes, more: bytes) -> bytes:
    """Members of one object."""
    return b"%s,%s" % (notes, more) if notes and more else notes or more


def correction_of(draft: Draft, catalogue: EventCatalogue) -> Correction | None:
    """What the catalogue makes of the draft."""
    properties, context = (_NOTHING if bytes(raw) in _EMPTY else raw for raw in (draft.properties, draft.context))
    return catalogue.apply(draft.type, properties, context)


def correct(draft: Draft, correction: Correction) -> bytes:
    """Puts into the draft what the catalogue makes of it, and returns its note."""
    draft.properties, draft.context = Raw(bytes(correction.properties)), Raw(bytes(correction.context))
    return correction.note


def _corrected(draft: Draft, catalogue: EventCatalogue) -> bytes:
    correction = correction_of(draft, catalogue)
    if correction is None:
        return b""
    if correction.refusal is not None:
        raise Refused(*correction.refusal)
    return correct(draft, correction)


def with_members(raw: Raw, members: bytes, field: str) -> Raw:
    """A JSON object as it was sent, and members after its own: of two with the same name, readers take the last."""
    sent = bytes(raw)
    if len(sent) > 2 and sent[0] == _BRACE and sent[-2] not in _NO_MEMBER:
        return Raw(b"%s,%s}" % (sent[:-1], members))
    if sent in _EMPTY:
        return Raw(b"{%s}" % members)
    if not sent.startswith(b"{"):
        raise Refused(field, "must be an object")
    inside = sent[1:-1].strip()
    return Raw(b"{%s,%s}" % (inside, members) if inside else b"{%s}" % members)


def with_context_of_batch(shared: Raw, own: Raw) -> Raw:
    """The context of a batch with that of one of its items: of two members with one name, readers take the item's.

    Raises Refused.
    """
    sent = bytes(own)
    if sent in _EMPTY:
        return shared
    if not sent.startswith(b"{"):
        raise Refused("context", "must be an object")
    inside = sent[1:-1].strip()
    return with_members(shared, inside, "context") if inside else shared


def is_given(raw: Raw) -> bool:
    """Whether a field was sent with a value other than null."""
    return bytes(raw) not in _EMPTY


def _require_readable(value: bytes, draft: Draft, properties: str) -> None:
    """Asks the model. Its problem is named by the part that was sent, as places in the finished record mean nothing."""
    try:
        decode(Event, value)
    except DecodeError as error:
        problem = error
    else:
        return
    for field, raw in ((properties, draft.properties), ("context", draft.context)):
        try:
            part = parse_json(bytes(raw) or _NULL)
        except DecodeError as error:
            raise Refused(field, reason_of(error)) from None
        if not (part is None or isinstance(part, dict)):
            raise Refused(field, "must be an object")
    field = min(problem.fields, default="item")
    reason = problem.detail.partition("; ")[0].partition(": ")[2] or problem.detail
    raise Refused(properties if field == "properties" else _SENT_AS.get(field, field), reason)


def reason_of(error: DecodeError) -> str:
    """What `parse_json` has against a part of a call, without the names in it, which are the sender's."""
    return error.detail.rpartition(": ")[2] if error.fields else f"not JSON that can be kept ({error.detail})"

"""The shapes of Segment's calls. Properties, context and traits stay raw: most are written as they came."""

import json
from typing import Any

from msgspec import MsgspecError, Raw, Struct, ValidationError
from msgspec.json import Decoder

from web.ingest.ids import RawId
from web.ingest.reading import CallProblem, Refused
from web.ingest.records import ABSENT

MOST_ITEMS = 10_000
"""In one batch. SDKs send at most 100; what is more is a mistake that would hold up the other calls."""
_MOST_VALUES = 400_000
"""Told by the commas. The decoder makes an object of each item before their number is known."""
_MOST_SHARED = 4 * 1024 * 1024
"""What the context of a batch may take in all its items together: as much as items may have in one body by default."""
UNREADABLE = (MsgspecError, ValueError, RecursionError)
"""What decoders raise for JSON that they do not read."""


class Item(Struct, gc=False, rename="camel"):
    """One call, alone or in a batch. What has no place here is left out of the event."""

    type: str | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    user_id: RawId = None
    anonymous_id: RawId = None
    previous_id: RawId = None
    group_id: RawId = None
    message_id: RawId = None
    timestamp: str | None = None
    original_timestamp: str | None = None
    sent_at: str | None = None
    properties: Raw = ABSENT
    context: Raw = ABSENT
    traits: Raw = ABSENT


class CallBatch(Struct, gc=False, rename="camel"):
    """Calls that are sent together."""

    batch: list[Item]
    sent_at: str | None = None
    context: Raw = ABSENT
    """Counts for each item, whose own members come first."""


class RawBatch(Struct, gc=False, rename="camel"):
    """The same, each call raw, so that a wrong one spoils no other."""

    batch: list[Raw]
    sent_at: str | None = None
    context: Raw = ABSENT


_decode_item = Decoder(Item).decode
_decode_batch = Decoder(CallBatch).decode
_decode_raw_batch = Decoder(RawBatch).decode
_decode_list = Decoder(list[Raw]).decode
_dump = json.JSONEncoder(separators=(",", ":")).encode


def item_of(raw: Raw | bytes) -> Item:
    """The item in its JSON. Raises Refused with the field that is wrong."""
    try:
        return _decode_item(raw)
    except UNREADABLE as error:
        raise Refused(*place_of(error)) from None


def batch_of(body: bytes) -> CallBatch | RawBatch | CallProblem:
    """The items of a batch, raw if one is wrong. Problem 400 if it is no batch, 413 if it has too many items."""
    if body.count(b",") > _MOST_VALUES:
        return _too_many()
    batch: CallBatch | RawBatch | CallProblem
    try:
        batch = _decode_batch(body)
    except UNREADABLE:
        batch = _raw_batch(body)
    if isinstance(batch, CallProblem):
        return batch
    if len(bytes(batch.context)) * len(batch.batch) > _MOST_SHARED:
        return CallProblem(413, "context", f"has more than {_MOST_SHARED} bytes in all items together")
    return _too_many() if len(batch.batch) > MOST_ITEMS else batch


def list_of(body: bytes) -> list[Raw] | CallProblem:
    """The items of a JSON array; Problems as of a batch."""
    if body.count(b",") > _MOST_VALUES:
        return _too_many()
    try:
        items = _decode_list(body)
    except UNREADABLE as error:
        rescued = _rescued(_tolerant(body))
        if rescued is None:
            return _problem(error)
        items = rescued
    return _too_many() if len(items) > MOST_ITEMS else items


def place_of(error: Exception) -> tuple[str, str]:
    """The field and what is wrong with it: of ``Expected `str`, got `int` - at `$.event` `` it is `event`."""
    if not isinstance(error, ValidationError):
        return "item", "is nested too deep" if isinstance(error, RecursionError) else "is not JSON in UTF-8"
    reason, _, path = str(error).partition(" - at `$")
    return path.rstrip("`").lstrip(".") or "item", reason.replace("`", "")


def _problem(error: Exception) -> CallProblem:
    field, reason = place_of(error)
    return CallProblem(400, field if field != "item" else "body", reason)


def _too_many() -> CallProblem:
    return CallProblem(413, "batch", f"more than {MOST_ITEMS} items, or than {_MOST_VALUES} values")


def _raw_batch(body: bytes) -> RawBatch | CallProblem:
    try:
        return _decode_raw_batch(body)
    except UNREADABLE as error:
        return _rescued_batch(body) or _problem(error)


def _rescued_batch(body: bytes) -> RawBatch | None:
    whole = _tolerant(body)
    if not isinstance(whole, dict):
        return None
    items, context = _rescued(whole.pop("batch", None)), _rescued([whole.get("context")])
    sent_at = whole.get("sentAt")
    if items is None or context is None:
        return None
    return RawBatch(items, sent_at if isinstance(sent_at, str) else None, context[0])


def _rescued(items: Any) -> list[Raw] | None:
    try:
        return [Raw(_dump(item).encode()) for item in items] if isinstance(items, list) else None
    except RecursionError:
        return None


def _tolerant(body: bytes) -> Any:
    """The value of JSON that msgspec refuses whole although one item is at fault; None if it is no JSON in any reading.

    Scripts leave the half of a surrogate pair where they cut a text, and Python writes NaN. Python's own reader
    takes both, and bytes that are not UTF-8, so that only the item that holds them is refused.
    """
    try:
        return json.loads(body.decode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        return None

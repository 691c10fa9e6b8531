"""Events as rules see them and as states keep them."""

from typing import Any

from msgspec import Struct

from schemas.events import Event
from schemas.plain import PlainEvent, plain_ms
from triggers.cel.runtime import as_ms
from triggers.cel.values import moment


class StoredEvent(Struct, array_like=True, gc=False):
    """An event as rules see it, and as a state keeps it while an occurrence or a sequence needs it.

    A shape of its own beside `Event` and `PlainEvent`, because a state keeps it as a short array without the user, and
    because expressions read its time as milliseconds.
    """

    id: str
    type: str
    time_ms: int
    source: str
    properties: dict[str, Any]


def event_map(event: StoredEvent) -> dict[str, Any]:
    """The event as a map in an expression: its properties, and `id`, `type`, `time` and `source`, which win over
    properties of these names."""
    envelope = {"id": event.id, "type": event.type, "time": moment(event.time_ms), "source": event.source}
    return event.properties | envelope


def stored_event(event: Event) -> StoredEvent:
    """The event as rules see it."""
    return StoredEvent(event.id, event.type, as_ms(event.time), event.source, event.properties)


def stored_plain_event(event: PlainEvent, raw: bytes) -> StoredEvent | None:
    """The event that `raw` carries as rules see it; None if only `Event` can tell its exact time."""
    time_ms = plain_ms(event, raw)
    if time_ms is None:
        return None
    return StoredEvent(event.id, event.type, time_ms, event.source or "", event.properties or {})

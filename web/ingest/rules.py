"""How calls are read, whoever sends them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from msgspec import Raw


class Correction(Protocol):
    """What a catalogue makes of an event."""

    @property
    def properties(self) -> bytes | Raw:
        """As they go on."""

    @property
    def context(self) -> bytes | Raw:
        """As it goes on."""

    @property
    def note(self) -> bytes:
        """A member for the context that says what does not fit; empty if there is none."""

    @property
    def refusal(self) -> tuple[str, str] | None:
        """The field and the reason if the event does not go on."""


class EventCatalogue(Protocol):
    """Knows which events and fields may pass."""

    def apply(self, event_type: str, properties: bytes | Raw, context: bytes | Raw, /) -> Correction | None:
        """What becomes of an event with these JSON objects; None if it goes on as it is."""

    def may_lack_user(self, event_type: str, /) -> bool:
        """Whether the event concerns no user."""


@dataclass(frozen=True, slots=True)
class ReadingRules:
    """What reading needs to know besides the call and its key."""

    make_id: Callable[[], str]
    """A new id for an item that has none."""
    item_bytes: int = 32_768
    """The largest item."""
    catalogue: EventCatalogue | None = None

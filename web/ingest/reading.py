"""What one call holds: events for Kafka, patches for the profile store, and the items that are refused."""

from dataclasses import dataclass, field

from msgspec import Struct

from web.profiles.patches import IdentityLink, ProfilePatch


class EventRecord(Struct, frozen=True, gc=False):
    """An event as it goes to Kafka. `schemas.events.Event` accepts the value, and the key is its `user_id` or None.

    A Struct, because there is one for each event, and a frozen dataclass takes four times as long to make.
    """

    key: bytes | None
    value: bytes
    anonymous: bool = False
    """Whether its `user_id` is only the visitor's anonymous id. Kafka's header `ebbtide-anonymous` says so too."""


@dataclass(frozen=True, slots=True)
class ItemRefusal:
    """An item that is not taken: its place in the batch (0 for a single call), the field, and what is wrong with it.

    Holds no value of the item.
    """

    index: int
    field: str
    reason: str


@dataclass(slots=True)
class Reading:
    """The items of one call, in their order."""

    events: list[EventRecord] = field(default_factory=list)
    patches: list[ProfilePatch] = field(default_factory=list)
    links: list[IdentityLink] = field(default_factory=list)
    refused: list[ItemRefusal] = field(default_factory=list)

    places: dict[int, int] = field(default_factory=dict, compare=False)
    """Of patches and links in the call, by the `id()` of each."""

    def place_of(self, item: ProfilePatch | IdentityLink) -> int:
        """The place in the call of a patch or link of this reading."""
        return self.places[id(item)]

    @property
    def is_empty(self) -> bool:
        """Whether nothing of the call is to be kept."""
        return not (self.events or self.patches or self.links)


@dataclass(frozen=True, slots=True)
class CallProblem:
    """Why nothing of a call can be read, with the HTTP status that says so. Holds no value of the call."""

    status: int
    field: str
    reason: str


class Refused(Exception):
    """Why an item is not taken. Reading turns it into the item's `ItemRefusal`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field, reason)
        self.field = field
        self.reason = reason

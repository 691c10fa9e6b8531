"""Events: what users did, as backend services publish it."""

from typing import Annotated

from pydantic import Field

from schemas.types import Id, Instant, Name, Properties, PublishedFact


class Event(PublishedFact):
    """One thing that a user did. Keyed by `user_id`, which is null for an event without a user.

    The published contract: every reader validates by it, directly or as `PlainEvent` does.
    """

    id: Id
    type: Name
    user_id: Id | None
    anonymous_id: Id | None = None
    time: Instant
    properties: Properties = Field(default_factory=dict)
    context: Properties = Field(default_factory=dict)
    source: Annotated[str, Field(max_length=256)] = ""

"""Profiles: what is known of a user, compacted to the last word."""

from typing import Annotated

from pydantic import Field

from schemas.types import Address, Fact, Id, Instant, Name, Properties


class Consent(Fact):
    """One purpose's consent, with the proof of how it was given or taken back."""

    granted: bool
    time: Instant
    method: Annotated[str, Field(max_length=128)] = ""
    text_version: Annotated[str, Field(max_length=128)] = ""


class Profile(Fact):
    """A user's address, place and consent. Keyed by `user_id`."""

    user_id: Id
    address: Address | None = None
    zone: Annotated[str, Field(max_length=64)] | None = None
    locale: Annotated[str, Field(max_length=35)] | None = None
    attributes: Properties = Field(default_factory=dict)
    consent: dict[Name, Consent] = Field(default_factory=dict)

"""What a call says of a user. Each value counts by the time of its call, so calls may arrive in any order."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.profiles import Consent


@dataclass(frozen=True, slots=True)
class ProfilePatch:
    """Some values of a profile. An attribute that is None is taken away."""

    user_id: str
    time_us: int
    """When it was said, in microseconds since 1970."""
    source: str
    """The source of the key, or the name of the page or command, by which it came."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Of `address`, `zone`, `locale` and `paused_until`. One that is None is taken away."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    consent: Mapping[str, Consent] = field(default_factory=dict)
    """By purpose. Each answer has its own time."""


@dataclass(frozen=True, slots=True)
class IdentityLink:
    """From this time on, what the anonymous visitor does is done by the user."""

    anonymous_id: str
    user_id: str
    time_us: int
    by_server: bool = False
    """Whether a server key said it. Who holds a browser key, which is public, may say it of any id."""

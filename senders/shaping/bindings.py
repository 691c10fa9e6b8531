"""What a waiting mail waits for: observed against limit, and until when. Values only."""

from dataclasses import dataclass
from enum import StrEnum

OPEN_END_US = 32_503_680_000_000_000
"""The year 3000: the end of what a person holds until they say otherwise."""


class BindingKind(StrEnum):
    """What binds."""

    LOOKUP = "lookup"
    """The MX hosts of its domain are not known: rather wait than send with fewer limits."""
    NO_POOL = "no_pool"
    """No pool takes its purpose."""
    HELD = "held"
    """A rule or a person holds it."""
    SUSPENDED = "suspended"
    """Every source that it may leave from is suspended there."""
    PROBATION = "probation"
    """A suspension has just ended, and the one mail that tries is on its way."""
    RESTING = "resting"
    """Too many connections failed in a row."""
    CONNECTIONS = "connections"
    """All connections that are allowed carry other mails."""
    CONNECTION_RATE = "connection_rate"
    """No connection may be opened yet."""
    MESSAGE_RATE = "message_rate"
    """No mail may begin yet."""
    BEHIND = "behind"
    """Nothing but the mails before it."""


@dataclass(frozen=True, slots=True)
class Binding:
    """`until_us` is None if an event ends it, such as a mail's end. `set_by` is a rule, or a key of the file."""

    kind: BindingKind
    name: str = ""
    """What is bound, as in `lane one mx.example`."""
    observed: str = ""
    limit: str = ""
    until_us: int | None = None
    set_by: str = ""

"""What the pages ask of the rest of `web`, as the smallest parts that do it, and what each may raise."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from psycopg import AsyncConnection

from schemas.profiles import Profile
from web.profiles.patches import ProfilePatch
from web.profiles.store import StoreAway
from web.recipients.outcome_log import NotAcknowledged, Record
from web.recipients.stored import MailOrigin

T = TypeVar("T")

AWAY = (StoreAway, NotAcknowledged)
"""PostgreSQL or Kafka does not answer now. What was asked may have been done; asking again is right."""


class RecipientProfiles(Protocol):
    """Reads and changes profiles. Raises StoreAway."""

    async def read(self, user_id: str) -> Profile | None:
        """What is known of a user."""

    async def store(self, patches: Sequence[ProfilePatch]) -> None:
        """Returns when the patches are durable."""


class Transactions(Protocol):
    """Runs transactions on PostgreSQL."""

    async def run(self, work: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
        """Do `work` in one transaction and commit it. Raises StoreAway."""


FindOrigin = Callable[[str], Awaitable[MailOrigin | None]]
"""Who got the mail of a command; None if nobody knows. Raises StoreAway."""
StopMails = Callable[[str, MailOrigin], Awaitable[None]]
"""Stops mails of the purpose of a command's mail, durably. Raises NotAcknowledged."""
Append = Callable[[Sequence[Record]], Awaitable[None]]
"""Returns when all in-sync replicas have the records. Raises NotAcknowledged."""

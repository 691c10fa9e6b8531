"""Profiles as the pages see them, from the store of profiles."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog
from structlog.typing import FilteringBoundLogger

from schemas.codec import decode
from schemas.profiles import Profile
from web.profiles.patches import ProfilePatch
from web.profiles.profile_state import published
from web.profiles.store import ProfileStore, StoreAway


def _log() -> FilteringBoundLogger:
    log: FilteringBoundLogger = structlog.get_logger("web.recipients.pages")
    return log


@dataclass(frozen=True, slots=True)
class StoredProfiles:
    """Implements `RecipientProfiles`."""

    profiles: ProfileStore
    log: FilteringBoundLogger = field(default_factory=_log)

    async def read(self, user_id: str) -> Profile | None:
        """What is known of a user. Raises StoreAway."""
        state = await self.profiles.read(user_id)
        return None if state is None else decode(Profile, published(user_id, state))

    async def store(self, patches: Sequence[ProfilePatch]) -> None:
        """Returns when the patches are durable. Raises StoreAway, also if the profile has no room for them: what a
        recipient chose must not seem saved."""
        refused = await self.profiles.store(patches)
        for each in refused:
            self.log.error("choice_refused", field=each.field, reason=each.reason)
        if refused:
            raise StoreAway

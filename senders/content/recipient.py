"""The recipient of a mail as the recipients view knows them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipient:
    """A user as the recipients view knows them."""

    user_id: str
    address: str | None
    zone: str | None
    locale: str | None
    attributes: dict[str, Any]
    consent: dict[str, Any]
    paused_until: datetime | None = None
    """Until then the user wants no mail that needs consent."""

    def consents(self, purpose: str) -> bool:
        """Whether the user's last answer for this purpose was yes."""
        answer = self.consent.get(purpose)
        return isinstance(answer, dict) and answer.get("granted") is True

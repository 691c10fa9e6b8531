"""Who follows a link to a page, and in which language they read."""

from typing import NamedTuple

from starlette.requests import Request

from schemas.profiles import Profile
from web.recipients.pages.choices import masked
from web.recipients.pages.texts import Texts, texts_for
from web.recipients.stored import MailOrigin


class Visit(NamedTuple):
    """A request with a valid token: the mail in which the link stood, and its reader."""

    command_id: str
    origin: MailOrigin
    profile: Profile | None
    texts: Texts

    @property
    def user_id(self) -> str:
        """Who got the mail."""
        return self.origin.user_id

    @property
    def purpose(self) -> str | None:
        """That of the mail."""
        return self.origin.purpose

    @property
    def address(self) -> str | None:
        """Where the user's mails go."""
        return self.profile.address if self.profile else None

    @property
    def shown_address(self) -> str | None:
        """The same, as pages show it."""
        return masked(self.address) if self.address else None

    @property
    def locale(self) -> str | None:
        """The user's language."""
        return self.profile.locale if self.profile else None

    @property
    def zone(self) -> str | None:
        """The user's time zone."""
        return self.profile.zone if self.profile else None


def texts_of(request: Request, profile: Profile | None = None) -> Texts:
    """The language of the profile, else that of the browser."""
    return texts_for(profile.locale if profile else None, request.headers.get("accept-language", ""))

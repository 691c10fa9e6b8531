"""All pages of recipients. GET and HEAD change nothing; a POST makes its change and leads to a page that says so."""

from collections.abc import Sequence
from itertools import chain

from starlette.routing import Route

from web.recipients.pages.confirmation_pages import ConfirmationPages
from web.recipients.pages.settings_pages import SettingsPages
from web.recipients.pages.unsubscribe_pages import UnsubscribePages


class HtmlPages(UnsubscribePages):
    """All pages of one process."""

    __slots__ = ()

    def routes(self) -> Sequence[Route]:
        """The routes of all pages."""
        parts = (self.find_origin, self.stop_mails, self.profiles, self.desk, self.brand, self.clock)
        groups = (UnsubscribePages(*parts), SettingsPages(*parts), ConfirmationPages(*parts))
        return list(chain.from_iterable(group.routes() for group in groups))

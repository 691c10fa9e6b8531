"""The page of a link to confirm something.

/v/TOKEN   asks to confirm, or says that it is done or too late; POST: makes the change
"""

from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from senders.content.links import LinkKind
from web.recipients.pages import html
from web.recipients.pages.confirmations import Confirmation, TooManyMails
from web.recipients.pages.page_group import PageGroup, answered
from web.recipients.pages.visits import Visit
from web.recipients.stored import MailOrigin


class ConfirmationPages(PageGroup):
    """The page of a link to confirm something."""

    __slots__ = ()

    def routes(self) -> Sequence[Route]:
        """Its routes."""
        return [
            Route("/v/{token}", self.ask, methods=["GET"]),
            Route("/v/{token}", self.confirm, methods=["POST"]),
        ]

    @answered
    async def ask(self, request: Request) -> Response:
        """Asks to confirm, or says that it is done or too late."""
        found, visit = await self._confirmation(request)
        paths = {"confirm": request.scope["path"]}
        if found.went_to(visit.address):  # nobody else may see the settings
            paths["settings"] = self.path(LinkKind.PREFERENCES, visit)
        if found.is_over(self.now(), visit.address):
            return self.page("expired.html", visit.texts, 410, paths=paths)
        words = {name: text for name, text in (("new", found.address), ("address", visit.shown_address)) if text}
        return self.page(
            "confirm.html" if found.confirmed_at is None else "confirmed.html",
            visit.texts,
            kind=found.kind.value,
            words=words,
            purposes=[visit.texts.purpose_of_brand(purpose) for purpose in found.purposes],
            paths=paths,
        )

    @answered
    async def confirm(self, request: Request) -> Response:
        """Makes the change that is confirmed."""
        found, visit = await self._confirmation(request)
        if not found.is_over(self.now(), visit.address):
            try:
                await self.desk.make(found, self.now())
            except TooManyMails:
                return self.said(visit, "too_many")
        return html.see_other(request.scope["path"])

    async def _confirmation(self, request: Request) -> tuple[Confirmation, Visit]:
        found = await self.desk.find(self.command_id(request, LinkKind.CONFIRM))
        if found is None:
            raise HTTPException(404)
        origin = MailOrigin(found.user_id, None, None, None)
        return found, await self.visit_of(request, found.command_id, origin)

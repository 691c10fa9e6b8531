"""The pages of an unsubscribe link.

    /u/TOKEN               asks whether to unsubscribe, or says that it is done
    /u/TOKEN/unsubscribe   POST: stops mails of the purpose of this mail
    /u/TOKEN/resubscribe   POST: sends a mail to confirm that they may come again

A POST to the link itself is the one click of a mail program (RFC 8058). `web.recipients.mail_links` does it.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from senders.content.links import LinkKind
from web.recipients.pages import choices, html
from web.recipients.pages.choices import ConsentMethod
from web.recipients.pages.needs import AWAY
from web.recipients.pages.page_group import PageGroup, answered
from web.recipients.pages.visits import Visit, texts_of


class UnsubscribePages(PageGroup):
    """The pages of an unsubscribe link."""

    __slots__ = ()

    def routes(self) -> Sequence[Route]:
        """Their routes."""
        return [
            Route("/u/{token}", self.ask, methods=["GET"]),
            Route("/u/{token}/unsubscribe", self.unsubscribe, methods=["POST"]),
            Route("/u/{token}/resubscribe", self.resubscribe, methods=["POST"]),
        ]

    @answered
    async def ask(self, request: Request) -> Response:
        """Asks, or says that it is done: that shows in the user's consent, not in the address of the page."""
        visit = await self.visit(request, LinkKind.UNSUBSCRIBE)
        answer = visit.profile.consent.get(visit.purpose) if visit.profile and visit.purpose else None
        is_done = answer is not None and not answer.granted
        return self._page("unsubscribed.html" if is_done else "unsubscribe.html", visit)

    @answered
    async def unsubscribe(self, request: Request) -> Response:
        """Unsubscribes. The outcome stops the mails; the profile keeps the refusal with its proof."""
        visit = await self.visit(request, LinkKind.UNSUBSCRIBE)
        await self.stop_mails(visit.command_id, visit.origin)
        if visit.purpose:
            await self.refuse(visit, [visit.purpose])
        return html.see_other(self.path(LinkKind.UNSUBSCRIBE, visit))

    @answered
    async def resubscribe(self, request: Request) -> Response:
        """Sends a mail to confirm a subscription again."""
        visit = await self.visit(request, LinkKind.UNSUBSCRIBE)
        return self.said(visit, await self.ask_again(visit, [visit.purpose] if visit.purpose else []))

    async def unsubscribed(self, request: Request) -> Response:
        """Says so after the one click of a mail program, which has shown no text of ours. Keeps the refusal in the
        profile too, but what stops the mails is the outcome before: if the store is away, it was done all the same."""
        command_id = self.command_id(request, LinkKind.UNSUBSCRIBE)
        try:
            origin = await self.find_origin(command_id)
            if origin is None or origin.purpose is None:
                return self.page("stopped.html", texts_of(request))
            method = ConsentMethod.ONE_CLICK
            await self.profiles.store([choices.answers(origin.user_id, {origin.purpose: False}, self.now(), method)])
        except AWAY:
            return self.page("stopped.html", texts_of(request))
        return self._page("unsubscribed.html", Visit(command_id, origin, None, texts_of(request)))

    def _page(self, template: str, visit: Visit) -> Response:
        own = self.path(LinkKind.UNSUBSCRIBE, visit)
        paths = {
            "stop": f"{own}/unsubscribe",
            "undo": f"{own}/resubscribe",
            "settings": self.path(LinkKind.PREFERENCES, visit),
        }
        purpose = visit.texts.purpose_of_brand(visit.purpose or "")
        return self.page(template, visit.texts, purpose=purpose, address=visit.shown_address, paths=paths)

"""What the groups of pages have in common: who follows a link, and the answers that any page may give."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from typing import TypeVar

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from senders.content.links import LinkKind
from web.recipients.pages import choices, html
from web.recipients.pages.choices import ConsentMethod
from web.recipients.pages.confirmations import ConfirmationKind
from web.recipients.pages.needs import AWAY, FindOrigin, RecipientProfiles, StopMails
from web.recipients.pages.requests import ConfirmationDesk
from web.recipients.pages.texts import Texts
from web.recipients.pages.visits import Visit, texts_of
from web.recipients.stored import MailOrigin

MOST_FIELDS = 500
Group = TypeVar("Group", bound="PageGroup")


def answered(
    endpoint: Callable[[Group, Request], Awaitable[Response]],
) -> Callable[[Group, Request], Awaitable[Response]]:
    """The endpoint, with a page for each request that it cannot serve."""

    @wraps(endpoint)
    async def answer(pages: Group, request: Request) -> Response:
        try:
            return await endpoint(pages, request)
        except AWAY:
            return pages.away(request)
        except HTTPException as error:
            return pages.missing(request, error.status_code)

    return answer


@dataclass(slots=True)
class PageGroup:
    """Pages of one process. `brand` stands at their top. `clock` gives seconds since 1970."""

    find_origin: FindOrigin
    stop_mails: StopMails
    profiles: RecipientProfiles
    desk: ConfirmationDesk
    brand: str
    clock: Callable[[], float] = time.time

    def page(self, template: str, texts: Texts, status: int = 200, **context: object) -> Response:
        """A page with the brand."""
        return html.page(template, texts, status, brand=self.brand, **context)

    def missing(self, request: Request, status: int = 404) -> Response:
        """Says that there is no such page, or that its link is forged or too old."""
        return self.page("missing.html", texts_of(request), status)

    def away(self, request: Request) -> Response:
        """Says that it cannot be done now."""
        again = request.scope["path"] if request.method in ("GET", "HEAD") else None
        return self.page("away.html", texts_of(request), 503, again=again)

    async def visit(self, request: Request, kind: LinkKind) -> Visit:
        """Who follows the link; raises HTTPException with 404 if its token is forged, of another kind, or unknown."""
        command_id = self.command_id(request, kind)
        origin = await self.find_origin(command_id)
        if origin is None:
            raise HTTPException(404)
        return await self.visit_of(request, command_id, origin)

    async def visit_of(self, request: Request, command_id: str, origin: MailOrigin) -> Visit:
        """The visit of this reader."""
        profile = await self.profiles.read(origin.user_id)
        return Visit(command_id, origin, profile, texts_of(request, profile))

    def command_id(self, request: Request, kind: LinkKind) -> str:
        """The command that the token names; raises HTTPException with 404 if it is forged or of another kind."""
        token = self.desk.links.keys.read(request.path_params["token"])
        if token is None or token.kind is not kind:
            raise HTTPException(404)
        return token.command_id

    async def refuse(self, visit: Visit, purposes: Iterable[str]) -> None:
        """Keep that the reader refuses these purposes."""
        granted = dict.fromkeys(purposes, False)
        method = ConsentMethod.PREFERENCE_PAGE
        await self.profiles.store([choices.answers(visit.user_id, granted, self.now(), method, visit.texts.version)])

    async def change(self, visit: Visit, said: Mapping[str, object]) -> None:
        """Keep single values of the reader's profile."""
        await self.profiles.store([choices.values(visit.user_id, self.now(), ConsentMethod.PREFERENCE_PAGE, said)])

    async def ask_again(self, visit: Visit, purposes: Sequence[str]) -> str:
        """Ask by a mail whether these purposes may come again. Returns what the settings say of it."""
        if visit.address is None or not purposes:
            return "saved"
        asked = await self.desk.ask(visit, ConfirmationKind.RESUBSCRIBE, self.now(), purposes=purposes)
        return "confirm" if asked else "too_many"

    def path(self, kind: LinkKind, visit: Visit) -> str:
        """The path of another page for the same mail."""
        return f"/{kind}/{self.desk.links.keys.token(kind, visit.command_id)}"

    def said(self, visit: Visit, status: str) -> Response:
        """Leads to the settings, which say this of the POST."""
        return html.see_other(f"{self.path(LinkKind.PREFERENCES, visit)}?said={status}")

    def now(self) -> datetime:
        """The time."""
        return datetime.fromtimestamp(self.clock(), UTC)


async def form_of(request: Request) -> FormData:
    """The fields of a form, none of another body; raises HTTPException with 400 for files and for too many fields."""
    return await request.form(max_files=0, max_fields=MOST_FIELDS)


def written(form: FormData, name: str) -> list[str]:
    """The texts of a field."""
    return [value for value in form.getlist(name) if isinstance(value, str)]

"""The page of settings, and what its forms do.

/p/TOKEN             the settings
/p/TOKEN/purposes    POST: turns purposes off at once, and on once a mail is confirmed
/p/TOKEN/pause       POST: no mail for 30 days, or the end of that
/p/TOKEN/place       POST: language and time zone
/p/TOKEN/address     POST: another address, once two mails are confirmed
"""

from collections.abc import Sequence

from babel.dates import format_date
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.addresses import address_key, plain_address
from schemas.zones import zone_named
from senders.content.links import LinkKind
from web.recipients.pages import choices, zones
from web.recipients.pages.confirmations import ConfirmationKind
from web.recipients.pages.page_group import PageGroup, answered, form_of, written
from web.recipients.pages.texts import languages
from web.recipients.pages.visits import Visit

SAID = frozenset({"saved", "none", "confirm", "address", "paused", "resumed", "too_many"})
"""What the page can say about the POST before."""
FORMS = ("purposes", "pause", "place", "address")


class SettingsPages(PageGroup):
    """The page of settings and its forms."""

    __slots__ = ()

    def routes(self) -> Sequence[Route]:
        """Their routes."""
        forms = [Route(f"/p/{{token}}/{form}", getattr(self, form), methods=["POST"]) for form in FORMS]
        return [Route("/p/{token}", self.settings, methods=["GET"]), *forms]

    @answered
    async def settings(self, request: Request) -> Response:
        """The settings."""
        visit = await self.visit(request, LinkKind.PREFERENCES)
        said = request.query_params.get("said")
        return self._page(visit, said=said if said in SAID else None)

    @answered
    async def purposes(self, request: Request) -> Response:
        """Turns purposes off at once, and on once that is confirmed."""
        visit = await self.visit(request, LinkKind.PREFERENCES)
        form = await form_of(request)
        may = choices.offered(visit.profile, visit.purpose)
        if form.get("none"):
            await self.refuse(visit, sorted(may))
            return self.said(visit, "none")
        off, on = choices.turned(written(form, "was"), written(form, "on"), may)
        if off:
            await self.refuse(visit, off)
        return self.said(visit, await self.ask_again(visit, on) if on else "saved")

    @answered
    async def pause(self, request: Request) -> Response:
        """Begins a pause, or ends it."""
        visit = await self.visit(request, LinkKind.PREFERENCES)
        ends = (await form_of(request)).get("pause") == "end"
        await self.change(visit, {"paused_until": None if ends else (self.now() + choices.PAUSE).isoformat()})
        return self.said(visit, "resumed" if ends else "paused")

    @answered
    async def place(self, request: Request) -> Response:
        """Sets the language and the time zone, as far as they were changed."""
        visit = await self.visit(request, LinkKind.PREFERENCES)
        form = await form_of(request)
        locale, zone = str(form.get("locale", "")), str(form.get("zone", ""))
        said: dict[str, object] = {}
        if locale in languages() and locale != visit.locale:
            said["locale"] = locale
        if zone_named(zone) and zone != visit.zone:
            said["zone"] = zone
        if said:
            await self.change(visit, said)
        return self.said(visit, "saved")

    @answered
    async def address(self, request: Request) -> Response:
        """Asks, by a mail to the present address, whether mails are to go to another."""
        visit = await self.visit(request, LinkKind.PREFERENCES)
        if visit.address is None:
            raise HTTPException(404)
        typed = str((await form_of(request)).get("address", "")).strip()
        try:
            new = plain_address(typed)
        except ValueError:
            return self._page(visit, problem="address_wrong", typed=typed[:320])
        if address_key(new) == address_key(visit.address):
            return self._page(visit, problem="address_same", typed=typed)
        asked = await self.desk.ask(visit, ConfirmationKind.ADDRESS, self.now(), address=new)
        return self.said(visit, "address" if asked else "too_many")

    def _page(self, visit: Visit, *, said: str | None = None, problem: str | None = None, typed: str = "") -> Response:
        texts = visit.texts
        paused = choices.paused_until(visit.profile, self.now())
        own = self.path(LinkKind.PREFERENCES, visit)
        return self.page(
            "settings.html",
            texts,
            200 if problem is None else 422,
            said=said,
            problem=problem,
            typed=typed,
            address=visit.shown_address,
            brands=choices.choices(visit.profile, visit.purpose, texts),
            paused_until=format_date(paused, "long", texts.code) if paused else None,
            locale=visit.locale,
            locales=zones.locales_with(visit.locale),
            zone=visit.zone,
            zones=zones.zones_with(texts.code, visit.zone),
            paths={form: f"{own}/{form}" for form in FORMS},
        )

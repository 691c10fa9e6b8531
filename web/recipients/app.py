"""The pages and links of recipients as one Starlette application, and the part of a process that runs it."""

import asyncio
from collections.abc import Container, Mapping
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.postgres.database import IDLE_IN_TRANSACTION_S, AsyncDatabase
from infra.postgres.stores import Stores
from infra.service.tasks import end_tasks, run_together
from infra.service.watchdog import Watchdog
from senders.content.links import LinkKeys, LinkPages
from web.profiles.store import ProfileStore, StoreAway
from web.recipients import stored
from web.recipients.hit_recorder import HitRecorder
from web.recipients.lookup import Lookup
from web.recipients.mail_links import MailLinkEdge
from web.recipients.mail_origins import MailOrigins
from web.recipients.new_links import NewLinks
from web.recipients.outcome_log import NotAcknowledged, OutcomeLog
from web.recipients.pages.requests import ConfirmationDesk
from web.recipients.pages.routes import HtmlPages
from web.recipients.pages.stored_profiles import StoredProfiles
from web.settings import WebSettings

MOST_LINKS = 200_000
"""Some 50 MB, if addresses have a hundred characters."""
FINISH_S = 1.0
"""Less than the time after which a task that is cancelled is cancelled again."""
_GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
"""One transparent pixel."""
_NOT_KEPT = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}


def recipients_app(edge: MailLinkEdge, pages: HtmlPages) -> Starlette:
    """The application. A click to its target is its only redirect to another site, and it sets no cookie."""

    async def pixel(request: Request) -> Response:
        if not edge.opened(request.path_params["token"], request.method, request.headers):
            return pages.missing(request)
        return Response(b"" if request.method == "HEAD" else _GIF, headers=_NOT_KEPT, media_type="image/gif")

    async def click(request: Request) -> Response:
        try:
            url = await edge.clicked(request.path_params["token"], request.method, request.headers)
        except StoreAway:
            return pages.away(request)
        return pages.missing(request) if url is None else Response(status_code=302, headers=_redirect(url))

    async def unsubscribe(request: Request) -> Response:
        try:
            done = await edge.unsubscribe(request.path_params["token"], request.headers)
        except (StoreAway, NotAcknowledged):
            return pages.away(request)
        return await pages.unsubscribed(request) if done else pages.missing(request)

    async def refused(request: Request, error: Exception) -> Response:
        return pages.missing(request, error.status_code if isinstance(error, HTTPException) else 404)

    app = Starlette(
        routes=[
            Route("/c/{token}", click, methods=["GET"]),
            Route("/o/{token}", pixel, methods=["GET"]),
            Route("/u/{token}", unsubscribe, methods=["POST"]),
            *pages.routes(),
        ],
        exception_handlers={HTTPException: refused},
    )
    app.router.redirect_slashes = False
    return app


def _redirect(url: str) -> Mapping[str, str]:
    return {**_NOT_KEPT, "Location": url}


class RecipientsPart:
    """What a process needs to serve recipients. All methods belong to the event loop's thread."""

    def __init__(
        self,
        settings: WebSettings,
        stores: Stores,
        store: ProfileStore,
        watchdog: Watchdog,
        erased: Container[str] = (),
    ) -> None:
        """Raises ValueError without an address of the pages, and without a key of links."""
        if settings.public_url is None:
            raise ValueError("no address of the pages")
        keys = LinkKeys([key.get_secret_value() for key in settings.link_keys])
        links = LinkPages(settings.public_url, keys)
        ledger = stores.ledger
        self._links_database, self._new_links_database = (
            AsyncDatabase(ledger.url, ledger.outage, idle_in_transaction_s=IDLE_IN_TRANSACTION_S) for _ in range(2)
        )
        self._links: Lookup[bytes, str] = Lookup(self._links_database, ledger.outage, stored.links, MOST_LINKS)
        self.new_links = NewLinks(self._new_links_database, self._links, watchdog)
        self._origins = MailOrigins(stores, erased)
        self._log = OutcomeLog(settings.connection)
        self.recorder = HitRecorder(self._origins, self._log, watchdog)
        edge = MailLinkEdge(keys, self._links, self._origins, self.recorder, self._log)
        profiles = StoredProfiles(store)
        desk = ConfirmationDesk(store, profiles, self._log.append, links)
        brand = urlsplit(settings.public_url).hostname or ""
        self.app = recipients_app(edge, HtmlPages(self._origins.get, edge.stop_mails, profiles, desk, brand))

    async def run(self) -> None:
        """Answer and record, until cancelled. What was answered is then recorded, within a second."""
        lookups = {
            "mail-links": self._links.run(),
            "new-links": self.new_links.run(),
            "mail-origins": self._origins.run(),
            "outcome-log": self._log.run(),
        }
        answering = asyncio.create_task(run_together(lookups), name="recipients")
        recording = asyncio.create_task(self.recorder.run(), name="hit-recorder")
        try:
            await asyncio.wait({answering, recording}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks([recording])
            if not answering.done():
                await self.recorder.finish(FINISH_S)
            await end_tasks([answering])
        for task in (answering, recording):
            if not task.cancelled():
                task.result()

    async def close(self) -> None:
        """Close the connections."""
        self._log.close()
        await self._links_database.close()
        await self._new_links_database.close()
        await self._origins.close()

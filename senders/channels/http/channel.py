"""Calls one endpoint: the channel of webhooks.

Nothing that the endpoint writes but its status and Retry-After is used, kept or shown. Redirects are not followed,
proxies and cookies not used, and of a body little is read.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace

import aiohttp

from schemas.endpoints import Endpoint
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.channel import ChannelClient, MailPath, SendResult, Tracer
from senders.channels.http.answers import answer_of
from senders.channels.http.destinations import CheckedResolver, DestinationRefused, Destinations
from senders.channels.http.signatures import signature_headers

LARGEST_BODY = 65_536
"""So much of an answer is read, so that the connection can be used again; of a longer one the connection is closed."""
BODY_S = 1.0
CLOSE_S = 5.0
_HEADERS = {"Content-Type": "application/json", "User-Agent": "ebbtide-webhooks", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How requests of an endpoint are made: its document, with the secrets that it names."""

    endpoint: Endpoint
    keys: Sequence[bytes] = field(repr=False)
    """By each the requests are signed."""
    headers: Mapping[str, str] = field(repr=False)

    @property
    def timeout_s(self) -> float:
        """How long a request may take as a whole."""
        return self.endpoint.timeout_ms / 1000


class WebhookChannel:
    """Makes the clients of one endpoint, which share its connections. For one event loop."""

    def __init__(
        self,
        call: CallSettings,
        destinations: Destinations,
        connections: int,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.call = call
        self._destinations = destinations
        self._clock = clock
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(_note_sent)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=CheckedResolver(destinations), limit=connections),
            timeout=aiohttp.ClientTimeout(total=call.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={**call.headers, **_HEADERS},
            trace_configs=[trace],
            middlewares=[_send_once],
        )

    @property
    def server(self) -> str:
        """The host of the endpoint."""
        return self.call.endpoint.host

    @property
    def longest_send_s(self) -> float:
        """The endpoint's time-out, and that of its answer's body."""
        return self.call.timeout_s + BODY_S

    async def check(self) -> None:
        """Nothing: each address is looked at when it is connected to."""

    def client(self, after: ChannelClient | None = None) -> "WebhookClient":
        """A new client."""
        del after
        return WebhookClient(self.call, self._session, self._destinations, self._clock)

    async def close(self) -> None:
        """Close all connections."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._session.close()


async def _note_sent(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    context.trace_request_ctx["sent"] = True


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a request once. Where the connection ends before an answer, aiohttp sends a PUT again by itself, and the
    ledger would not know of the first."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


class WebhookClient:
    """Makes one request at a time."""

    def __init__(
        self,
        call: CallSettings,
        session: aiohttp.ClientSession,
        destinations: Destinations,
        clock: Callable[[], datetime],
    ) -> None:
        self.tracer: Tracer | None = None
        self.handed_over = False
        self._call = call
        self._session = session
        self._destinations = destinations
        self._clock = clock

    @property
    def path(self) -> MailPath | None:
        """None: of a request only the host is kept, which is the endpoint's."""
        return None

    @property
    def connected(self) -> bool:
        """Whether requests can be made. The connections are the session's."""
        return not self._session.closed

    usable = connected

    async def connect(self) -> None:
        """Nothing: a request connects."""

    async def close(self) -> None:
        """Nothing: the connections are the session's."""

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:
        """Call the endpoint with the body `message`. `mail_from` is the id by which it knows a repeat.

        What fails before the request was sent is deferred; later it is in doubt, for the endpoint may have acted.
        """
        del to
        self.handed_over, sent = False, {"sent": False}
        try:
            endpoint = self._call.endpoint
            self._destinations.require(endpoint.host, encrypted=endpoint.url.startswith("https:"))
            return await self._request(mail_from, message, sent)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self.handed_over = sent["sent"]
            state = LedgerState.IN_DOUBT if self.handed_over else LedgerState.DEFERRED
            return SendResult(state, _reason(error, sent=self.handed_over))

    async def _request(self, message_id: str, body: bytes, sent: dict[str, bool]) -> SendResult:
        call, now = self._call, self._clock()
        async with self._session.request(
            call.endpoint.method,
            call.endpoint.url,
            data=body,
            headers=signature_headers(call.keys, message_id, int(now.timestamp()), body),
            allow_redirects=False,
            trace_request_ctx=sent,
        ) as response:
            self.handed_over = True
            await _read_a_little(response)
            return answer_of(response.status, response.headers.get("Retry-After"), self._clock())


async def _read_a_little(response: aiohttp.ClientResponse) -> None:
    """Read a short body to its end, so that the connection can be used again; close it otherwise."""
    left = LARGEST_BODY
    try:
        async with asyncio.timeout(BODY_S):
            while left > 0 and (piece := await response.content.read(left)):
                left -= len(piece)
    except (aiohttp.ClientError, OSError, TimeoutError):
        left = 0
    if left <= 0:
        response.close()


def _reason(error: Exception, *, sent: bool) -> DeliveryReason:
    if isinstance(getattr(error, "os_error", error), DestinationRefused):
        return DeliveryReason.DESTINATION_REFUSED
    if isinstance(error, TimeoutError):
        return DeliveryReason.TIMED_OUT
    if not sent:
        return DeliveryReason.UNREACHABLE
    return DeliveryReason.BAD_REPLY if isinstance(error, aiohttp.ClientResponseError) else DeliveryReason.DISCONNECTED

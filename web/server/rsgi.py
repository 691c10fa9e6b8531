"""A front door as an application of RSGI, which granian serves."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Protocol

from granian.rsgi import ProtocolClosed, ProtocolError

from web.server.bodies import SMALL, cut_off
from web.server.front_door import FrontDoor


class RsgiHeaders(Protocol):
    """The headers of a request; a header that is not ASCII is left out."""

    def items(self) -> list[tuple[str, str]]:
        """Names in lower case, with their values."""


class RsgiScope(Protocol):
    """What RSGI tells of a request."""

    @property
    def proto(self) -> str:
        """`http` or `ws`."""

    @property
    def method(self) -> str:
        """In upper case."""

    @property
    def path(self) -> str:
        """Percent-decoded; what is not UTF-8 is replaced."""

    @property
    def query_string(self) -> str:
        """As it was sent."""

    @property
    def headers(self) -> RsgiHeaders:
        """The headers."""


class RsgiExchange(Protocol):
    """RSGI's side of one request."""

    def __call__(self) -> Awaitable[bytes]:
        """The whole body."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The parts of the body. Ends where the client has gone, too."""

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        """Answers."""


class RsgiApp:
    """Serves a front door by RSGI."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door

    async def __rsgi__(self, scope: RsgiScope, exchange: RsgiExchange) -> None:
        """Answers one request."""
        headers = dict(scope.headers.items())
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        read_body = (lambda: self._read(exchange, headers)) if has_body else None
        answer = await self._door.answer(scope.method, scope.path, scope.query_string, headers, read_body)
        exchange.response_bytes(answer.status, list(answer.headers), answer.body)

    async def _read(self, exchange: RsgiExchange, headers: Mapping[str, str]) -> bytes:
        bodies = self._door.bodies
        # RFC 9112, 6.3: with a transfer coding, a length means nothing
        announced = None if "transfer-encoding" in headers else bodies.announced(headers.get("content-length"))
        if announced is None or announced > SMALL:
            return await bodies.read(exchange, announced)
        try:
            body = await bodies.whole(exchange())
        except (ProtocolClosed, ProtocolError):
            raise cut_off() from None
        if len(body) != announced:
            raise cut_off()
        return body

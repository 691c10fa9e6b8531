"""Receives mails at return paths by SMTP or LMTP, and gives each to `Inbox`. Relays nothing.

Only a signed return path, and the address for complaints, is a recipient; all others get 550. Sizes, connections, rates
and times are bounded, and what is over a bound is refused with a 4xx, so that a sender that means well comes again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from infra.service.faults import describe
from senders.bounces.settings import BounceSettings

MAX_LINE: Final = 16_384
"""The longest line. RFC 5321 has 1,000, and reports of some servers have more."""
MAX_COMMANDS: Final = 200
"""Commands of one kind in a connection."""
BURST_S: Final = 10.0

Receive = Callable[[str, bytes], Awaitable[None]]
"""Keeps what a mail to this recipient says. Raises if that is not possible now."""


class RateLimit:
    """A bucket that fills with time. `clock` returns seconds."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._full = max(1.0, per_second * BURST_S)
        self._left = self._full
        self._at = clock()

    def take(self) -> bool:
        """Take one; False if there is none now."""
        now = self._clock()
        self._left = min(self._full, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class _Smtp(SMTP):
    line_length_limit = MAX_LINE


class _Lmtp(LMTP):
    line_length_limit = MAX_LINE


class _Hooks:
    """The hooks of aiosmtpd for one connection."""

    def __init__(self, listener: "BounceListener") -> None:
        self._listener = listener

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if not self._listener.is_ours(address):
            self._listener.refused("recipient")
            return "550 5.1.1 no such return path"
        if envelope.rcpt_tos:
            return "452 4.5.3 one recipient a mail, please"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 recipient ok"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        return await self._listener.data(envelope.rcpt_tos[0], envelope.original_content or b"")


class BounceListener:
    """A server on one port. `receive` gets each mail; `refused` gets the reason why one was not taken."""

    def __init__(self, settings: BounceSettings, receive: Receive, refused: Callable[[str], None]) -> None:
        self._settings = settings
        self._paths = settings.return_paths
        self._receive = receive
        self.refused = refused
        self._rate = RateLimit(settings.bounces_per_second)
        self._connections = 0
        self._server: asyncio.Server | None = None
        self._log = structlog.get_logger("senders.bounces.listener")

    def is_ours(self, address: str) -> bool:
        """Whether mail to this address is taken."""
        settings = self._settings
        complaints = f"{settings.complaint_address}@{settings.bounce_domain}".lower()
        return address.lower() == complaints or self._paths.command_id(address) is not None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None, "it was started"
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Several processes may share the port. Raises OSError if it is taken."""
        settings = self._settings
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, settings.bounces_host, settings.bounces_port, reuse_port=True
        )

    async def stop(self) -> None:
        """Listen no more, and end all connections."""
        if self._server is not None:
            self._server.close()

    def _protocol(self) -> asyncio.BaseProtocol:
        settings = self._settings
        kind: type[SMTP] = _Lmtp if settings.bounces_protocol == "lmtp" else _Smtp
        protocol: Any = kind(
            _Hooks(self),
            data_size_limit=settings.bounces_max_bytes,
            enable_SMTPUTF8=True,
            hostname=settings.bounces_hello,
            ident="ebbtide",
            timeout=settings.bounces_timeout_s,
            command_call_limit=MAX_COMMANDS,
            loop=asyncio.get_running_loop(),
        )
        return _counted(self, protocol)

    def opened(self, transport: asyncio.BaseTransport) -> bool:
        """Note a connection. Returns False, and ends it, if there are as many as there may be."""
        self._connections += 1
        if self._connections <= self._settings.bounces_connections:
            return True
        self.refused("connections")
        assert isinstance(transport, asyncio.Transport), "the server is one of TCP"
        transport.write(b"421 4.3.2 too many connections, come again later\r\n")
        transport.close()
        return False

    def closed(self) -> None:
        """Note that a connection has ended."""
        self._connections -= 1

    async def data(self, recipient: str, content: bytes) -> str:
        """The reply to a mail."""
        if not self._rate.take():
            self.refused("rate")
            return "451 4.3.2 too many mails, come again later"
        try:
            await self._receive(recipient, content)
        except Exception as error:  # noqa: BLE001  # one mail must not end the listener
            self._log.error("bounce_not_kept", error=describe(error))
            return "451 4.3.0 not kept, come again later"
        return "250 2.0.0 kept"


def _counted(listener: BounceListener, protocol: Any) -> asyncio.BaseProtocol:
    """The protocol, whose connections the listener counts."""
    made, lost = protocol.connection_made, protocol.connection_lost

    def connection_made(transport: asyncio.BaseTransport) -> None:
        if listener.opened(transport):
            made(transport)
        else:
            protocol.connection_lost = lambda _: listener.closed()

    def connection_lost(error: Exception | None) -> None:
        listener.closed()
        lost(error)

    protocol.connection_made, protocol.connection_lost = connection_made, connection_lost
    return protocol  # type: ignore[no-any-return]

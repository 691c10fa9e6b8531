"""The SMTP channel of a route. If a connection ends before the server took the mail, the mail goes on another."""

from dataclasses import dataclass
from typing import Final

import structlog

from infra.service.faults import describe
from senders.channels.channel import (
    ChannelClient,
    MailPath,
    NoDestination,
    RealMailRefused,
    SendResult,
    Tracer,
    Unreachable,
)
from senders.channels.smtp.connector import Connector
from senders.channels.smtp.relay import connector, relay_route
from senders.channels.smtp.route import FindRoute, MailRoute, SmtpLimits
from senders.channels.smtp.session import ConnectionEnded, SmtpSession
from senders.channels.smtp.trace_lines import masked
from senders.settings import SenderSettings

MAX_CONNECTIONS: Final = 3
"""How many connections servers may end at one mail before the mail is deferred. A limit of mails a session ends one;
a server that hangs up at this recipient ends each."""


@dataclass(frozen=True, slots=True)
class SmtpChannel:
    """Sends by one route, which is asked for at each connect."""

    name: str
    find_route: FindRoute
    connector: Connector
    limits: SmtpLimits

    @classmethod
    def of(cls, settings: SenderSettings) -> "SmtpChannel":
        """The channel to the relay that the settings name."""
        return cls.to(relay_route(settings), connector(settings))

    @classmethod
    def to(cls, route: MailRoute, opener: Connector) -> "SmtpChannel":
        """The channel of a route that never changes."""

        async def always() -> MailRoute:
            return route

        return cls(route.name, always, opener, route.limits)

    @property
    def server(self) -> str:
        """The relay, or the site."""
        return self.name

    @property
    def longest_send_s(self) -> float:
        """More than one mail can take if each time-out runs to its end."""
        one = self.limits.longest_open_s + self.limits.longest_mail_s
        return MAX_CONNECTIONS * one + self.limits.final_reply_s

    async def check(self) -> None:
        """Raise RealMailRefused unless all addresses of the route are allowed, and Unreachable if it has none."""
        await self.connector.check(await self.find_route())

    def client(self, after: ChannelClient | None = None) -> "SmtpClient":
        """A new client. It has the session of the one that it comes `after`, which is used no more."""
        made = SmtpClient(self)
        if isinstance(after, SmtpClient):
            made.take_over(after)
        return made


class SmtpClient:
    """Has at most one session, and opens another when that is ended. Used by one task."""

    def __init__(self, channel: SmtpChannel) -> None:
        self._channel = channel
        self._session: SmtpSession | None = None
        self._refused: SendResult | None = None
        self._ended_by: str | None = None
        self.handed_over = False
        """Whether the server may have the mail of the last `send`."""
        self.tracer: Tracer | None = None
        self.path: MailPath | None = None
        """The way of the last mail, or that of the open connection."""
        self._log = structlog.get_logger("senders.channels.smtp.channel")

    def take_over(self, other: "SmtpClient") -> None:
        """Go on with the session of another client. The next session is by the route of this one's channel."""
        self._session, other._session = other._session, None
        self._ended_by, self.path = other._ended_by, other.path

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as we know."""
        return self._session is not None and self._session.connected

    @property
    def usable(self) -> bool:
        """Whether the session may carry another mail."""
        return self._session is not None and self._session.usable

    async def connect(self) -> None:
        """Open a session unless there is a usable one; raises Unreachable, or RealMailRefused.

        Where no host takes mail, it opens none, and `send` says so of each mail.
        """
        if not self.usable:
            await self.close()
            self._refused = None
            try:
                self._session = await self._open()
            except NoDestination as none:
                self._refused = none.result
                self._trace(f"* takes no mail: {none}")
            except Unreachable as failure:
                self._trace(f"* no connection: {masked(str(failure))}")
                raise
            else:
                for line in self._session.opening:
                    self._trace(masked(line))

    def _trace(self, line: str) -> None:
        if self.tracer is not None:
            self.tracer(line)

    async def _open(self) -> SmtpSession:
        """A new session. Every error while it is opened is the server's fault: no mail is handed over yet."""
        try:
            route = await self._channel.find_route()
            last, self._ended_by = self._ended_by, None
            session = await self._channel.connector.open(route, last)
        except (Unreachable, RealMailRefused, NoDestination):
            raise
        except Exception as error:
            raise Unreachable(f"{self._channel.server}: {describe(error)}") from error
        self.path = session.path
        return session

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:
        """Send one mail. Raises Unreachable, or RealMailRefused, if no server took it."""
        self.handed_over = False
        for _ in range(MAX_CONNECTIONS):
            await self.connect()
            session = self._session
            if session is None:
                assert self._refused is not None, "connect raises where there is none"
                return self._refused
            try:
                return await self._send(session, mail_from, to, message)
            except ConnectionEnded as ended:
                result = ended.result
                self._session, self._ended_by = None, session.path.host
            finally:
                self.handed_over = session.handed_over
        return result

    async def _send(self, session: SmtpSession, mail_from: str, to: str, message: bytes) -> SendResult:
        session.tracer = self.tracer
        if self.tracer is not None:
            path = session.path
            self.tracer(f"* to {path.host} ({path.address}) from {path.source}, {path.tls or 'no TLS'}")
        result = await session.send(mail_from, to, message)
        if session.closed_silently:
            self._channel.connector.closed_silently(session)
        return result

    async def close(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            await session.close()
        except Exception as error:  # noqa: BLE001  # the connection is not used again
            self._log.warning("session_not_closed", error=describe(error))

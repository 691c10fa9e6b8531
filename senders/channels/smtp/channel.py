"""The SMTP channel. If a connection ends before the server took the mail, the mail is sent on another connection."""

from dataclasses import dataclass
from typing import Final

import structlog

from infra.service.faults import describe
from senders.channels.channel import RealMailRefused, SendResult, Unreachable
from senders.channels.smtp.relay import SmtpRelay
from senders.channels.smtp.session import ConnectionEnded, SmtpSession
from senders.settings import SenderSettings

MAX_CONNECTIONS: Final = 3
"""How many connections the server may end at one mail before the mail is deferred. A limit of mails a session ends one;
a server that hangs up at this recipient ends each."""


@dataclass(frozen=True, slots=True)
class SmtpChannel:
    """Sends through one relay."""

    relay: SmtpRelay

    @classmethod
    def of(cls, settings: SenderSettings) -> "SmtpChannel":
        """The channel to the relay that the settings name."""
        return cls(SmtpRelay.of(settings))

    @property
    def server(self) -> str:
        """Host and port of the relay."""
        return self.relay.server

    @property
    def longest_send_s(self) -> float:
        """More than one mail can take if each time-out runs to its end."""
        settings = self.relay.settings
        return 10 * settings.smtp_timeout_s + settings.smtp_final_dot_timeout_s

    async def check(self) -> None:
        """Raise RealMailRefused unless all addresses of the relay are allowed, and Unreachable if it has none."""
        await self.relay.addresses()

    def client(self) -> "SmtpClient":
        """A new client, not connected yet."""
        return SmtpClient(self.relay)


class SmtpClient:
    """Has at most one session, and opens another when that is ended. Used by one task."""

    def __init__(self, relay: SmtpRelay) -> None:
        self._relay = relay
        self._session: SmtpSession | None = None
        self.handed_over = False
        """Whether the server may have the mail of the last `send`."""
        self._log = structlog.get_logger("senders.channels.smtp.channel")

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as we know."""
        return self._session is not None and self._session.connected

    async def connect(self) -> None:
        """Open a session unless there is a usable one; raises Unreachable, or RealMailRefused."""
        if self._session is None or not self._session.usable:
            await self.close()
            self._session = await self._open()

    async def _open(self) -> SmtpSession:
        """A new session. Every error while it is opened is the server's fault: no mail is handed over yet."""
        try:
            return await self._relay.connect()
        except (Unreachable, RealMailRefused):
            raise
        except Exception as error:
            raise Unreachable(f"{self._relay.server}: {describe(error)}") from error

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:
        """Send one mail. Raises Unreachable, or RealMailRefused, if no server took it."""
        self.handed_over = False
        for _ in range(MAX_CONNECTIONS):
            await self.connect()
            session = self._session
            assert session is not None, "connect raises where there is none"
            try:
                return await session.send(mail_from, to, message)
            except ConnectionEnded as ended:
                result = ended.result
                self._session = None
            finally:
                self.handed_over = session.handed_over
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

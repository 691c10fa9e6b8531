"""The SMTP channel. A mail whose connection ends before the server took the mail is sent on the next connection."""

from dataclasses import dataclass
from typing import Final

import structlog

from infra.service.faults import describe
from senders.channels.channel import RealMailRefused, SendResult, Unreachable
from senders.channels.smtp.relay import ConnectionEnded, SmtpRelay, SmtpSession
from senders.settings import SenderSettings

TRIES: Final = 3
"""Connections that one mail may use up. A mail at which the server ends that many is deferred, as that mail's answer:
one limit a session costs one of them, and a server that hangs up at a certain recipient does it each time."""


@dataclass(frozen=True, slots=True)
class SmtpChannel:
    """Sends through one relay."""

    relay: SmtpRelay

    @classmethod
    def of(cls, settings: SenderSettings) -> "SmtpChannel":
        """The channel to the relay that the settings name."""
        return cls(SmtpRelay.of(settings))

    @property
    def place(self) -> str:
        """Host and port of the relay."""
        return self.relay.place

    @property
    def longest_send_s(self) -> float:
        """More than a mail takes for which the server uses up each time-out."""
        settings = self.relay.settings
        return 10 * settings.smtp_timeout_s + settings.smtp_final_dot_timeout_s

    async def check(self) -> None:
        """Raise RealMailRefused unless all addresses of the relay are allowed, Unreachable if it has none."""
        await self.relay.addresses()

    def client(self) -> "SmtpClient":
        """A new client, not connected yet."""
        return SmtpClient(self.relay)


class SmtpClient:
    """Holds at most one session and replaces it where the server ended it. Used by one task."""

    def __init__(self, relay: SmtpRelay) -> None:
        self._relay = relay
        self._session: SmtpSession | None = None
        self.handed_over = False
        """Whether the server may have the mail that `send` was last asked for."""
        self._log = structlog.get_logger("senders.channels.smtp.channel")

    @property
    def connected(self) -> bool:
        """Whether the server holds its end of a session."""
        return self._session is not None and self._session.connected

    async def connect(self) -> None:
        """Have a session that takes another mail; raises Unreachable, or RealMailRefused."""
        if self._session is None or not self._session.usable:
            await self.close()
            self._session = await self._open()

    async def _open(self) -> SmtpSession:
        """A session. Whatever goes wrong on the way to it is the server's fault: no mail is handed over yet."""
        try:
            return await self._relay.connect()
        except (Unreachable, RealMailRefused):
            raise
        except Exception as error:
            raise Unreachable(f"{self._relay.place}: {describe(error)}") from error

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:
        """One mail. Raises Unreachable, or RealMailRefused, where nothing of it was taken and no server answers."""
        self.handed_over = False
        for _ in range(TRIES):
            await self.connect()
            session = self._session
            assert session is not None, "connect raises where there is none"
            try:
                return await session.send(mail_from, to, message)
            except ConnectionEnded as ended:
                verdict = ended.verdict
                self._session = None
            finally:
                self.handed_over = session.handed_over
        return verdict

    async def close(self) -> None:
        """Say goodbye, briefly."""
        session, self._session = self._session, None
        if session is None:
            return
        try:
            await session.close()
        except Exception as error:  # noqa: BLE001  # the connection is of no use any more, whatever it said
            self._log.warning("session_not_closed", error=describe(error))

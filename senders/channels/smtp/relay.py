"""The SMTP server that takes all our mail: its addresses, and connections to it with EHLO and STARTTLS done."""

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass, field
from typing import Literal

import aiosmtplib
from aiosmtplib import SMTPException

from senders.bounces.classifier import load_classifier
from senders.channels.channel import RealMailRefused, Unreachable
from senders.channels.smtp.conversation import Conversation
from senders.channels.smtp.extensions import Extensions
from senders.channels.smtp.session import SessionLimits, SmtpSession
from senders.channels.smtp.starttls import StarttlsMemory
from senders.settings import SenderSettings


def _tls_context(mode: Literal["never", "offered", "required"]) -> ssl.SSLContext:
    """One context for all connections: making one takes 40 ms. With `offered`, certificates are not verified."""
    context = ssl.create_default_context()
    if mode != "required":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class SmtpRelay:
    """Used by all sessions of a channel."""

    settings: SenderSettings
    tls_context: ssl.SSLContext = field(repr=False)
    starttls: StarttlsMemory = field(default_factory=StarttlsMemory, repr=False)

    @classmethod
    def of(cls, settings: SenderSettings) -> "SmtpRelay":
        """The server that the settings name."""
        return cls(settings, _tls_context(settings.smtp_tls))

    @property
    def server(self) -> str:
        """Host and port."""
        return f"{self.settings.smtp_host}:{self.settings.smtp_port}"

    async def addresses(self) -> list[str]:
        """The IP addresses of the server; raises Unreachable, and RealMailRefused if any is not loopback."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self.settings.smtp_host, self.settings.smtp_port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(f"{self.server}: {error}") from error
        addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        if not self.settings.allow_real_mail:
            for address in addresses:
                if not ipaddress.ip_address(address).is_loopback:
                    raise RealMailRefused(
                        f"SMTP server {self.server} is {address}, which is not loopback, and real mail is refused; "
                        "set EBBTIDE_ALLOW_REAL_MAIL=true to send it, or EBBTIDE_SMTP_HOST=127.0.0.1"
                    )
        return addresses

    async def connect(self) -> "SmtpSession":
        """A session with the first address that answers; raises Unreachable, or RealMailRefused.

        The name is resolved each time, and the connection goes to the address that was checked. If TLS is `offered` and
        STARTTLS fails, a second connection does without it.
        """
        failure: Exception | None = None
        for address in await self.addresses():
            try:
                return self._session(await self._open(address))
            except (SMTPException, OSError) as error:
                failure = error
        raise Unreachable(f"{self.server}: {failure}") from failure

    def _session(self, client: aiosmtplib.SMTP) -> SmtpSession:
        """Take the connection over from aiosmtplib, which allows one command in flight."""
        transport = client.protocol.transport if client.protocol is not None else None
        if not isinstance(transport, asyncio.Transport):
            raise ConnectionResetError("the connection was lost after EHLO")
        settings = self.settings
        limits = SessionLimits(
            command_s=settings.smtp_timeout_s,
            final_reply_s=settings.smtp_final_dot_timeout_s,
            idle_s=settings.idle_connection_s,
            mails=settings.mails_per_connection,
        )
        return SmtpSession(
            Conversation(transport),
            Extensions.of(client.esmtp_extensions),
            limits,
            load_classifier(settings.bounce_rules),
        )

    async def _open(self, address: str) -> aiosmtplib.SMTP:
        """A connection that is ready for mail, with TLS as the settings say."""
        mode = self.settings.smtp_tls
        if mode == "offered" and not self.starttls.failed_recently(address):
            try:
                return await self._connect_to(address, secure=True)
            except _StarttlsFailed as failed:
                self.starttls.failed(address, failed.cause)
        return await self._connect_to(address, secure=mode == "required")

    async def _connect_to(self, address: str, *, secure: bool) -> aiosmtplib.SMTP:
        client = aiosmtplib.SMTP(
            hostname=address,
            port=self.settings.smtp_port,
            start_tls=False,
            local_hostname=self.settings.smtp_hello,
            timeout=self.settings.smtp_timeout_s,
        )
        try:
            await client.connect()
            await _say_hello(client)
            if secure and client.supports_extension("starttls"):
                await self._start_tls(client)
                self.starttls.worked(address)
            elif self.settings.smtp_tls == "required":
                raise Unreachable(f"{self.server}: offers no STARTTLS, which EBBTIDE_SMTP_TLS requires")
        except BaseException:
            client.close()
            raise
        return client

    async def _start_tls(self, client: aiosmtplib.SMTP) -> None:
        """STARTTLS, and EHLO again, because the server has discarded what the first one said (RFC 3207, 4.2)."""
        try:
            await client.starttls(server_hostname=self.settings.smtp_host, tls_context=self.tls_context)
            await client.ehlo()
        except (SMTPException, OSError) as error:
            raise _StarttlsFailed(error) from error


class _StarttlsFailed(ConnectionError):
    """The server offered STARTTLS and then refused it, or the handshake failed."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"STARTTLS failed: {cause}")
        self.cause = cause


async def _say_hello(client: aiosmtplib.SMTP) -> None:
    """EHLO, or HELO if the server does not know EHLO (RFC 5321, 3.2)."""
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as refused:
        if not 500 <= refused.code < 600:
            raise
        await client.helo()

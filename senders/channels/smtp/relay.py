"""SMTP as a client: connections that carry many mails, and for each mail one verdict on what became of it.

The one thing that SMTP leaves open is a connection lost after the final dot and before its reply: then the mail may
or may not have been taken (RFC 1047), and the verdict is `in_doubt`. A connection that ends any earlier, by 421, a
close or silence, has taken nothing of the mail: `SmtpSession.send` raises ConnectionEnded, and
`senders.channels.smtp.channel` sends the mail on another connection.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Literal

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException, SMTPServerDisconnected, SMTPTimeoutError

from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.channel import RealMailRefused, SendResult, Unreachable
from senders.channels.smtp import replies
from senders.channels.smtp.starttls import StarttlsMemory
from senders.settings import SenderSettings

_CLOSING_TIMEOUT_S = 1.0
_GO_AHEAD = 354
_SERVICE_ENDS = 421


class ConnectionEnded(ConnectionError):
    """The server ended the connection before it took anything of the mail.

    `verdict` is what the mail comes to where no other connection takes it either.
    """

    def __init__(self, verdict: SendResult) -> None:
        super().__init__(verdict.reason or "421")
        self.verdict = verdict


def _tls_context(mode: Literal["never", "offered", "required"]) -> ssl.SSLContext:
    """One context for all connections; making one takes 40 ms. TLS that is merely offered is not authenticated."""
    context = ssl.create_default_context()
    if mode != "required":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True)
class SmtpRelay:
    """The server that takes all our mail."""

    settings: SenderSettings
    tls_context: ssl.SSLContext = field(repr=False)
    starttls: StarttlsMemory = field(default_factory=StarttlsMemory, repr=False)

    @classmethod
    def of(cls, settings: SenderSettings) -> "SmtpRelay":
        """The relay that the settings name."""
        return cls(settings, _tls_context(settings.smtp_tls))

    @property
    def place(self) -> str:
        """Host and port, as people write them."""
        return f"{self.settings.smtp_host}:{self.settings.smtp_port}"

    async def addresses(self) -> list[str]:
        """The IP addresses of the server; raises Unreachable, and RealMailRefused if any is not loopback."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self.settings.smtp_host, self.settings.smtp_port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(f"{self.place}: {error}") from error
        addresses = [str(sockaddr[0]) for *_, sockaddr in found]
        if not self.settings.allow_real_mail:
            for address in addresses:
                if not ipaddress.ip_address(address).is_loopback:
                    raise RealMailRefused(
                        f"SMTP server {self.place} is {address}, which is not loopback, and real mail is refused; "
                        "set EBBTIDE_ALLOW_REAL_MAIL=true to send it, or EBBTIDE_SMTP_HOST=127.0.0.1"
                    )
        return addresses

    async def connect(self) -> "SmtpSession":
        """A session at the first address that answers; raises Unreachable, or RealMailRefused.

        The name is resolved anew each time, and the connection goes to the very address that was checked. Where TLS
        is `offered` and STARTTLS fails, a second connection goes without it.
        """
        failure: Exception | None = None
        for address in await self.addresses():
            try:
                return SmtpSession(await self._open(address), self.settings)
            except (SMTPException, OSError) as error:
                failure = error
        raise Unreachable(f"{self.place}: {failure}") from failure

    async def _open(self, address: str) -> aiosmtplib.SMTP:
        """A connection over which both sides have greeted; with TLS as the settings say."""
        mode = self.settings.smtp_tls
        if mode == "offered" and not self.starttls.fails_at(address):
            try:
                return await self._greeted(address, secure=True)
            except _StarttlsFailed as failed:
                self.starttls.failed(address, failed.cause)
        return await self._greeted(address, secure=mode == "required")

    async def _greeted(self, address: str, *, secure: bool) -> aiosmtplib.SMTP:
        client = aiosmtplib.SMTP(
            hostname=address,
            port=self.settings.smtp_port,
            start_tls=False,
            local_hostname=self.settings.smtp_hello,
            timeout=self.settings.smtp_timeout_s,
        )
        try:
            await client.connect()
            await _hello(client)
            if secure and client.supports_extension("starttls"):
                await self._secure(client)
                self.starttls.worked(address)
            elif self.settings.smtp_tls == "required":
                raise Unreachable(f"{self.place}: offers no STARTTLS, which EBBTIDE_SMTP_TLS requires")
        except BaseException:
            client.close()
            raise
        return client

    async def _secure(self, client: aiosmtplib.SMTP) -> None:
        """STARTTLS, and EHLO again: the server has forgotten the first one (RFC 3207, 4.2)."""
        try:
            await client.starttls(server_hostname=self.settings.smtp_host, tls_context=self.tls_context)
            await client.ehlo()
        except (SMTPException, OSError) as error:
            raise _StarttlsFailed(error) from error


class _StarttlsFailed(ConnectionError):
    """STARTTLS was offered and then refused, or its handshake failed."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"STARTTLS failed: {cause}")
        self.cause = cause


async def _hello(client: aiosmtplib.SMTP) -> None:
    """EHLO, or HELO for a server that does not know EHLO (RFC 5321, 3.2)."""
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as refused:
        if not 500 <= refused.code < 600:
            raise
        await client.helo()


class SmtpSession:
    """One connection, used by one task."""

    def __init__(self, client: aiosmtplib.SMTP, settings: SenderSettings) -> None:
        self._client = client
        self._final_dot_timeout_s = settings.smtp_final_dot_timeout_s
        self._mails_left = settings.mails_per_connection
        self._idle_s = settings.idle_connection_s
        self._used_at = time.monotonic()
        self.handed_over = False
        """Whether the server may have the last mail."""

    @property
    def connected(self) -> bool:
        """Whether the server still holds its end."""
        return self._client.is_connected

    @property
    def usable(self) -> bool:
        """Whether another mail may go this way."""
        idle = time.monotonic() - self._used_at > self._idle_s
        return self.connected and self._mails_left > 0 and not idle

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:
        """One mail transaction. Raises ConnectionEnded where the server took nothing. Lines must end in CRLF."""
        self._mails_left -= 1
        self.handed_over = False
        try:
            refusal = await self._open(mail_from, to)
        except SMTPTimeoutError:
            raise self._ended(SendResult(LedgerState.DEFERRED, DeliveryReason.TIMED_OUT)) from None
        except (SMTPException, OSError):
            raise self._ended(SendResult(LedgerState.DEFERRED, DeliveryReason.DISCONNECTED)) from None
        if refusal is not None and refusal.reply is not None and refusal.reply.code == _SERVICE_ENDS:
            raise self._ended(refusal)
        if refusal is not None:
            await self._reset()
        verdict = refusal or await self._hand_over(message)
        self._used_at = time.monotonic()
        return verdict

    async def _open(self, mail_from: str, to: str) -> SendResult | None:
        """MAIL, RCPT and DATA; the verdict of the first that is not taken."""
        commands = ((b"MAIL", f"FROM:<{mail_from}>"), (b"RCPT", f"TO:<{to}>"))
        for verb, argument in commands:
            response = await self._client.execute_command(verb, argument.encode("ascii"))
            if not 200 <= response.code < 300:
                reply = replies.parse(response.code, response.message)
                return replies.judge(reply, at_recipient=verb == b"RCPT", at_sender=verb == b"MAIL")
        response = await self._client.execute_command(b"DATA")
        if response.code != _GO_AHEAD:
            return _unless_accepted(replies.parse(response.code, response.message))
        return None

    async def _hand_over(self, message: bytes) -> SendResult:
        """The message and its final dot. From the moment they are written, silence means doubt."""
        protocol = self._client.protocol
        try:
            if protocol is None:
                raise SMTPServerDisconnected("connection lost")
            data = _dots_doubled(message) + b".\r\n"
            self.handed_over = True
            protocol.write(data)
        except SMTPServerDisconnected:
            raise self._ended(SendResult(LedgerState.DEFERRED, DeliveryReason.DISCONNECTED)) from None
        try:
            response = await protocol.read_response(timeout=self._final_dot_timeout_s)
        except (SMTPServerDisconnected, SMTPTimeoutError, SMTPResponseException, OSError):
            self._client.close()
            return SendResult(LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY)
        if response.code == _SERVICE_ENDS:
            self._client.close()
        return replies.judge(replies.parse(response.code, response.message), at_recipient=False)

    async def _reset(self) -> None:
        """Make the connection ready for another mail, or let it go."""
        try:
            response = await self._client.execute_command(b"RSET")
            if not 200 <= response.code < 300:
                self._client.close()
        except (SMTPException, OSError):
            self._client.close()

    def _ended(self, verdict: SendResult) -> ConnectionEnded:
        self._client.close()
        return ConnectionEnded(verdict)

    async def close(self) -> None:
        """Say goodbye, briefly."""
        if self._client.is_connected:
            with contextlib.suppress(SMTPException, OSError):  # whatever it answers, the connection is closed next
                await self._client.execute_command(b"QUIT", timeout=_CLOSING_TIMEOUT_S)
        self._client.close()


def _dots_doubled(message: bytes) -> bytes:
    """The message as DATA carries it (RFC 5321, 4.5.2)."""
    return (b"." if message.startswith(b".") else b"") + message.replace(b"\r\n.", b"\r\n..")


def _unless_accepted(reply: Reply) -> SendResult:
    """DATA answered with anything but 354 has taken nothing, whatever the code says."""
    verdict = replies.judge(reply, at_recipient=False)
    if verdict.state is LedgerState.ACCEPTED:
        return SendResult(LedgerState.DEFERRED, None, reply)
    return verdict

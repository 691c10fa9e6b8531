"""One SMTP connection that carries many mails. For each mail it gives one result.

A connection that ends before the server took the mail, by 421, a close or a time-out, costs the mail nothing:
`SmtpSession.send` raises ConnectionEnded, and `senders.channels.smtp.channel` sends the mail on another connection.
421 as the reply to the final dot is such an end too: 4xx says that the server did not take the mail (RFC 5321, 4.1.1.4
and 4.2.1), and 421 that it closes the connection (3.8). A connection that ends after the final dot without any reply
leaves doubt, because the server may have taken the mail (RFC 1047): the result is `in_doubt`.
"""

import contextlib
import time

import aiosmtplib
from aiosmtplib import SMTPException, SMTPResponseException, SMTPServerDisconnected, SMTPTimeoutError

from schemas.outcomes import Reply
from schemas.replies import SmtpCommand
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.channel import SendResult
from senders.channels.smtp import replies
from senders.settings import SenderSettings

_QUIT_TIMEOUT_S = 1.0
_START_MAIL_INPUT = 354
_SERVICE_CLOSES = 421


class ConnectionEnded(ConnectionError):
    """The server ended the connection before it took the mail.

    `result` is the mail's result if no other connection takes it either.
    """

    def __init__(self, result: SendResult) -> None:
        super().__init__(result.reason or "421")
        self.result = result


class SmtpSession:
    """Used by one task."""

    def __init__(self, client: aiosmtplib.SMTP, settings: SenderSettings) -> None:
        self._client = client
        self._final_dot_timeout_s = settings.smtp_final_dot_timeout_s
        self._mails_left = settings.mails_per_connection
        self._idle_timeout_s = settings.idle_connection_s
        self._used_at = time.monotonic()
        self.handed_over = False
        """Whether the server may have the last mail."""

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as we know."""
        return self._client.is_connected

    @property
    def usable(self) -> bool:
        """Whether another mail may be sent on this connection."""
        idle = time.monotonic() - self._used_at > self._idle_timeout_s
        return self.connected and self._mails_left > 0 and not idle

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:
        """One mail transaction. Raises ConnectionEnded if the server accepted nothing. Lines must end in CRLF."""
        self._mails_left -= 1
        self.handed_over = False
        try:
            refusal = await self._envelope(mail_from, to)
        except SMTPTimeoutError:
            raise self._ended(SendResult(LedgerState.DEFERRED, DeliveryReason.TIMED_OUT)) from None
        except (SMTPException, OSError):
            raise self._ended(SendResult(LedgerState.DEFERRED, DeliveryReason.DISCONNECTED)) from None
        if refusal is not None and refusal.reply is not None and refusal.reply.code == _SERVICE_CLOSES:
            raise self._ended(refusal)
        if refusal is not None:
            await self._reset()
        result = refusal or await self._content(message)
        self._used_at = time.monotonic()
        return result

    async def _envelope(self, mail_from: str, to: str) -> SendResult | None:
        """MAIL, RCPT and DATA. The result of the first that the server refuses, or None."""
        commands = (
            (b"MAIL", f"FROM:<{mail_from}>", SmtpCommand.MAIL),
            (b"RCPT", f"TO:<{to}>", SmtpCommand.RCPT),
        )
        for verb, argument, answered in commands:
            response = await self._client.execute_command(verb, argument.encode("ascii"))
            if not 200 <= response.code < 300:
                return replies.result(replies.parse(response.code, response.message), answered)
        response = await self._client.execute_command(b"DATA")
        if response.code != _START_MAIL_INPUT:
            return _not_accepted(replies.parse(response.code, response.message))
        return None

    async def _content(self, message: bytes) -> SendResult:
        """The message and its final dot. Once these are written, a missing reply leaves doubt."""
        protocol = self._client.protocol
        try:
            if protocol is None:
                raise SMTPServerDisconnected("connection lost")
            data = _dot_stuffed(message) + b".\r\n"
            self.handed_over = True
            protocol.write(data)
        except SMTPServerDisconnected:
            raise self._ended(SendResult(LedgerState.DEFERRED, DeliveryReason.DISCONNECTED)) from None
        try:
            response = await protocol.read_response(timeout=self._final_dot_timeout_s)
        except (SMTPServerDisconnected, SMTPTimeoutError, SMTPResponseException, OSError):
            self._client.close()
            return SendResult(LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY)
        result = replies.result(replies.parse(response.code, response.message), SmtpCommand.DATA)
        if response.code == _SERVICE_CLOSES:
            self.handed_over = False
            raise self._ended(result)
        return result

    async def _reset(self) -> None:
        """RSET, so that the connection takes another mail. Closes the connection if the server refuses it."""
        try:
            response = await self._client.execute_command(b"RSET")
            if not 200 <= response.code < 300:
                self._client.close()
        except (SMTPException, OSError):
            self._client.close()

    def _ended(self, result: SendResult) -> ConnectionEnded:
        self._client.close()
        return ConnectionEnded(result)

    async def close(self) -> None:
        """QUIT with a short time-out, then close."""
        if self._client.is_connected:
            with contextlib.suppress(SMTPException, OSError):  # whatever it answers, the connection is closed next
                await self._client.execute_command(b"QUIT", timeout=_QUIT_TIMEOUT_S)
        self._client.close()


def _dot_stuffed(message: bytes) -> bytes:
    """The message as DATA carries it (RFC 5321, 4.5.2)."""
    return (b"." if message.startswith(b".") else b"") + message.replace(b"\r\n.", b"\r\n..")


def _not_accepted(reply: Reply) -> SendResult:
    """The result of a reply to DATA other than 354: nothing was accepted, whatever the code says."""
    result = replies.result(reply, SmtpCommand.DATA)
    if result.state is LedgerState.ACCEPTED:
        return SendResult(LedgerState.DEFERRED, None, reply)
    return result

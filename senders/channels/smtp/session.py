"""One SMTP connection that carries many mails. For each mail it gives one result.

A connection that ends before the server took the mail, by 421, a close or a time-out, costs the mail nothing:
`SmtpSession.send` raises ConnectionEnded, and `senders.channels.smtp.channel` sends the mail on another connection.
421 as the reply to the content is such an end too: 4xx says that the server did not take the mail (RFC 5321, 4.1.1.4
and 4.2.1), and 421 that it closes the connection (3.8). A connection that ends without a reply after the end of the
content leaves doubt, because the server may have taken the mail (RFC 1047): the result is `in_doubt`.

A server that took mails on this connection and refuses the next one by the number of mails a connection, by whatever
code, ends it as well: the mail goes on another.

The server's extensions decide how a mail goes: with PIPELINING and CHUNKING in one flight, envelope and content
together; with PIPELINING the envelope in one flight; else one command after the other.
"""

import contextlib
import dataclasses
import re
import time
from collections.abc import Sequence
from typing import Final

from schemas.vocabulary import DeliveryReason, LedgerState
from senders.bounces.classifier import Classifier
from senders.bounces.refusal import Stage
from senders.channels.channel import MailPath, SendResult, Tracer
from senders.channels.smtp import replies
from senders.channels.smtp.conversation import Conversation, ConversationEnded
from senders.channels.smtp.extensions import Extensions
from senders.channels.smtp.reply_parser import RawReply
from senders.channels.smtp.route import SmtpLimits
from senders.channels.smtp.trace_lines import command_line, content_line, reply_line
from senders.shaping.document import SmtpState

_QUIT_TIMEOUT_S: Final = 1.0
_START_MAIL_INPUT: Final = 354
_SERVICE_CLOSES: Final = 421
_STAGES: Final = {
    SmtpState.MAIL: Stage.MAIL,
    SmtpState.RCPT: Stage.RCPT,
    SmtpState.DATA: Stage.DATA,
    SmtpState.DOT: Stage.DATA,
}
_LIMIT_OF_SESSION = re.compile(r"\b(?:per|this|same|single|each)\s+(?:\w+\s+)?(?:session|connection)\b", re.IGNORECASE)
_NOT_IN_A_PATH = re.compile(r"[\x00-\x20\x7f<>]")


class ConnectionEnded(ConnectionError):
    """The server ended the connection before it took the mail.

    `result` is the mail's result if no other connection takes it either.
    """

    def __init__(self, result: SendResult) -> None:
        super().__init__(result.reason or "421")
        self.result = result


class SmtpSession:
    """Used by one task."""

    def __init__(
        self,
        conversation: Conversation,
        extensions: Extensions,
        limits: SmtpLimits,
        classifier: Classifier,
        path: MailPath,
        opening: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.opening = opening
        """What was said until the session was ready, for somebody who watches."""
        self.tracer: Tracer | None = None
        self._to = ""
        self.extensions = extensions
        self._conversation = conversation
        self._limits = limits
        self._waits = ((SmtpState.MAIL, limits.mail_s), (SmtpState.RCPT, limits.rcpt_s))
        self._classifier = classifier
        self._mails_left = min(limits.mails, extensions.max_mails or limits.mails)
        self._used_at = time.monotonic()
        self._unread = 0
        self._has_taken = False
        self.handed_over = False
        """Whether the server may have the last mail."""
        self.closed_silently = False
        """Whether the connection ended before the replies to MAIL and RCPT, with what followed already sent."""

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as we know."""
        return self._conversation.open

    @property
    def usable(self) -> bool:
        """Whether another mail may be sent on this connection."""
        idle = time.monotonic() - self._used_at > self._limits.idle_s
        return self.connected and self._mails_left > 0 and not idle

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:
        """One mail transaction. Raises ConnectionEnded if the server accepted nothing. Lines must end in CRLF."""
        self._mails_left -= 1
        self._to = to
        self.handed_over = False
        result = self._unfit(mail_from, to, message)
        if result is None:
            try:
                result = await self._transaction(self._envelope(mail_from, to, message), message)
            except ConversationEnded as end:
                result = self._interrupted(end)
            except BaseException:
                self._conversation.abort()
                raise
        self._used_at = time.monotonic()
        self._has_taken = self._has_taken or result.state is LedgerState.ACCEPTED
        return result

    def _unfit(self, mail_from: str, to: str, message: bytes) -> SendResult | None:
        """The result of a mail that this server cannot take by what it offers, or None."""
        offers = self.extensions
        if offers.max_size is not None and len(message) > offers.max_size:
            return SendResult(LedgerState.FAILED, DeliveryReason.TOO_LARGE)
        if not (offers.utf8 or (mail_from.isascii() and to.isascii())):
            return SendResult(LedgerState.FAILED, DeliveryReason.NEEDS_SMTPUTF8)
        if not (offers.eight_bit or message.isascii()):
            return SendResult(LedgerState.FAILED, DeliveryReason.NEEDS_8BITMIME)
        return None

    def _envelope(self, mail_from: str, to: str, message: bytes) -> tuple[bytes, bytes]:
        """The commands MAIL and RCPT. Raises ValueError if an address could end its command or begin another."""
        if _NOT_IN_A_PATH.search(mail_from) or _NOT_IN_A_PATH.search(to):
            raise ValueError("an address with a character that no envelope may carry")
        size = f" SIZE={len(message)}" if self.extensions.size else ""
        body = "" if message.isascii() else " BODY=8BITMIME"
        utf8 = "" if mail_from.isascii() and to.isascii() else " SMTPUTF8"
        return f"MAIL FROM:<{mail_from}>{size}{body}{utf8}\r\n".encode(), f"RCPT TO:<{to}>\r\n".encode()

    async def _transaction(self, envelope: tuple[bytes, bytes], message: bytes) -> SendResult:
        if self._unread:
            await self._settle_reset()
        if self.extensions.pipelining and self.extensions.chunking:
            return await self._in_one_flight(envelope, message)
        if self.extensions.pipelining:
            return await self._pipelined(envelope, message)
        return await self._one_by_one(envelope, message)

    # the three ways

    async def _in_one_flight(self, envelope: tuple[bytes, bytes], message: bytes) -> SendResult:
        """MAIL, RCPT and BDAT LAST (RFC 3030, 4.2): whatever BDAT is answered, a refused recipient gets no mail."""
        flight = b"%b%bBDAT %d LAST\r\n%b" % (*envelope, len(message), message)
        self._said(*envelope, b"BDAT %d LAST" % len(message), content=len(message))
        await self._hand_over(flight, 3)
        refusal, final = await self._answers(self._limits.final_reply_s)
        result = refusal or self._final(final)
        if result.state is not LedgerState.ACCEPTED:
            self._reset()
        return result

    async def _pipelined(self, envelope: tuple[bytes, bytes], message: bytes) -> SendResult:
        """MAIL, RCPT and DATA (RFC 2920, 3.1): DATA that is accepted without a recipient gets an empty mail."""
        self._conversation.send(b"%b%bDATA\r\n" % envelope, 3)
        self._said(*envelope, b"DATA")
        refusal, data = await self._answers(self._limits.data_s)
        if refusal is None:
            return await self._content(data, message)
        if data.code == _START_MAIL_INPUT:
            self._end_transaction(b".\r\n")
        self._reset()
        return refusal

    async def _one_by_one(self, envelope: tuple[bytes, bytes], message: bytes) -> SendResult:
        for command, (answered, wait_s) in zip(envelope, self._waits, strict=True):
            self._conversation.send(command, 1)
            self._said(command)
            refusal = self._refusal(await self._reply(wait_s), answered)
            if refusal is not None:
                self._reset()
                return refusal
        self._conversation.send(b"DATA\r\n", 1)
        self._said(b"DATA")
        return await self._content(await self._reply(self._limits.data_s), message)

    async def _content(self, data: RawReply, message: bytes) -> SendResult:
        """The message and its final dot, after the reply to DATA."""
        if data.code != _START_MAIL_INPUT:
            self._reset()
            return _not_accepted(self._result(data, SmtpState.DATA))
        self._said(content=len(message))
        await self._hand_over(_dot_stuffed(message), 1)
        return self._final(await self._reply(self._limits.final_reply_s))

    async def _hand_over(self, content: bytes, replies: int) -> None:
        """Write a mail's content. If the connection ends meanwhile, the replies that came before it still count."""
        try:
            await self._conversation.send_content(content, replies, self._limits.data_s)
        except ConversationEnded:
            if not self._conversation.unread:
                raise
        finally:
            self.handed_over = self._conversation.content_sent

    # replies

    async def _reply(self, wait_s: float) -> RawReply:
        reply = await self._conversation.reply(wait_s)
        if self.tracer is not None:
            self.tracer(reply_line(reply, self._to))
        return reply

    def _said(self, *commands: bytes, content: int | None = None) -> None:
        """Show what was sent to somebody who watches."""
        if self.tracer is None:
            return
        for command in commands:
            self.tracer(command_line(command))
        if content is not None:
            self.tracer(content_line(content))

    async def _answers(self, last_s: float) -> tuple[SendResult | None, RawReply]:
        """The first refusal of the replies to MAIL and RCPT, if any, and the reply to what followed in their flight.

        A refusal counts even if the connection ends behind it.
        """
        refusal: SendResult | None = None
        reply = RawReply(0, "")
        self.closed_silently = True
        try:
            for answered, wait_s in self._waits:
                reply = await self._reply(wait_s)
                refusal = refusal or self._refusal(reply, answered)
            self.closed_silently = False
            reply = await self._reply(last_s)
        except ConversationEnded:
            if refusal is None:
                raise
        return refusal, reply

    def _refusal(self, raw: RawReply, answered: SmtpState) -> SendResult | None:
        """The result if the reply refuses the mail. Then the server does not have it."""
        if 200 <= raw.code < 300:
            return None
        self.handed_over = False
        return self._result(raw, answered)

    def _final(self, raw: RawReply) -> SendResult:
        """The result of the reply to the content. One that comes before the end of the content accepts nothing."""
        if not self._conversation.content_sent and raw.code < 400:
            raise ConversationEnded(DeliveryReason.BAD_REPLY)
        return self._result(raw, SmtpState.DOT)

    def _result(self, raw: RawReply, answered: SmtpState) -> SendResult:
        """What a reply means. Raises ConnectionEnded if nothing was accepted, and nothing more will be here."""
        judged = replies.result(replies.parse(raw.code, raw.text), _STAGES[answered], self._classifier)
        result = dataclasses.replace(judged, answered=answered)
        if raw.code == _SERVICE_CLOSES or self._is_at_its_limit(raw):
            self.handed_over = False
            self._conversation.abort()
            raise ConnectionEnded(result)
        return result

    def _is_at_its_limit(self, raw: RawReply) -> bool:
        """Whether a refusal says that this connection has carried all the mails that it may."""
        return self._has_taken and raw.code >= 400 and _LIMIT_OF_SESSION.search(raw.text) is not None

    # between two mails

    def _reset(self) -> None:
        """RSET, so that the connection takes another mail."""
        self._end_transaction(b"RSET\r\n")

    def _end_transaction(self, command: bytes) -> None:
        """Send what ends a transaction; the next one reads the reply."""
        with contextlib.suppress(ConversationEnded):  # then the connection is closed, and not used again
            self._conversation.send(command, 1)
            self._unread += 1
            self._said(command)

    async def _settle_reset(self) -> None:
        """Read the replies to what ended the last transaction; raises ConversationEnded if RSET was refused."""
        reply = None
        while self._unread:
            reply = await self._conversation.reply(self._limits.reset_s)
            self._unread -= 1
        if reply is not None and not 200 <= reply.code < 300:
            raise ConversationEnded(DeliveryReason.DISCONNECTED)

    def _interrupted(self, end: ConversationEnded) -> SendResult:
        """The result of a mail whose connection ended; raises ConnectionEnded if the server cannot have the mail."""
        self._conversation.abort()
        if self.tracer is not None:
            self.tracer(f"* the connection ended: {end.reason}")
        if not self.handed_over:
            raise ConnectionEnded(SendResult(LedgerState.DEFERRED, end.reason)) from None
        return SendResult(LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY)

    async def close(self) -> None:
        """QUIT with a short time-out, then close."""
        await self._conversation.quit(_QUIT_TIMEOUT_S)


def _dot_stuffed(message: bytes) -> bytes:
    """The message as DATA carries it, with the final dot (RFC 5321, 4.5.2)."""
    return (b"." if message.startswith(b".") else b"") + message.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def _not_accepted(result: SendResult) -> SendResult:
    """The result of a reply to DATA other than 354: nothing was accepted, whatever the code says."""
    if result.state is LedgerState.ACCEPTED:
        return SendResult(LedgerState.DEFERRED, None, result.reply, answered=result.answered)
    return result

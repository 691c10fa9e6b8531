"""One connection of the sink of providers: replies with the provider's latency, TLS, and how it ends."""

import asyncio
import ssl
import time
from dataclasses import dataclass
from itertools import count

from infra.local.sink_answers import AnswerBook, SinkAnswer
from infra.local.sink_mails import MailFile
from infra.local.sink_receipts import Receipt, ReceiptFile
from infra.local.sink_script import Listener


@dataclass(frozen=True, slots=True)
class SinkParts:
    """What all sessions of a sink share."""

    answers: AnswerBook
    receipts: ReceiptFile
    mails: MailFile | None
    began: float
    numbers: "count[int]"


class SinkConnection(asyncio.Protocol):
    """The transport's side of a session. What comes together is answered together, after the provider's latency."""

    def __init__(self, parts: SinkParts, listener: Listener, tls: ssl.SSLContext) -> None:
        self.parts, self.listener, self._tls = parts, listener, tls
        self.source = ""
        self.buffer = bytearray()
        self.replies: list[bytes] = []
        self.provider = parts.answers.anybody
        self.closing = self.secure = self.upgrading = False
        self._number = next(parts.numbers)
        self._transport: asyncio.Transport
        self._due = 0.0
        self._aborts = False

    def read(self) -> bool:
        """Answer one command, or take one piece of a message; False if it is not complete."""
        raise NotImplementedError

    def secured(self) -> None:
        """TLS has begun: what was said before is forgotten."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greets the client."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.source = transport.get_extra_info("peername")[0]
        answer = self.parts.answers.before_recipient("connect", self.source, self.now())
        self.note("open", reply="" if answer is None else answer.text or "closed")
        self.reply(f"220 {self.listener.names[0]} ESMTP sink", answer)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Answers what is complete."""
        if self.closing:
            return
        self.buffer += data
        if self.upgrading:  # the client's first words under TLS may come before `start_tls` has returned
            return
        while self.buffer and not self.closing and self.read():
            pass
        self._flush()

    def connection_lost(self, _: Exception | None) -> None:
        """Notes the end."""
        self.closing = True
        self.note("close")

    def reply(self, usual: str, answer: SinkAnswer | None = None) -> None:
        """Give this reply, or the scripted one."""
        text = usual if answer is None else answer.text
        if text:
            self.replies.append(text.encode("ascii") + b"\r\n")
        if answer is not None and answer.closes:
            self.closing, self._aborts = True, not text

    def _flush(self) -> None:
        """Send the replies so far, after the provider's latency, and close where that was the answer."""
        data, self.replies = b"".join(self.replies), []
        latency, drip = self.parts.answers.latency_s(self.provider), self.provider.drip_s
        if not latency and not drip and not self._due:
            if data:
                self._transport.write(data)
            self._close_if_due()
        elif data or self.closing:
            self._send_later(data, latency, drip)

    def _send_later(self, data: bytes, latency: float, drip: float) -> None:
        loop = asyncio.get_running_loop()
        self._due = max(self._due, loop.time() + latency)
        for piece in [data[at : at + 1] for at in range(len(data))] if drip else [data]:
            self._due += drip / max(1, len(data))
            loop.call_at(self._due, self._transport.write, piece)
        loop.call_at(self._due, self._close_if_due)

    def _close_if_due(self) -> None:
        if self.closing and self._aborts:
            self._transport.abort()
        elif self.closing:
            self._transport.close()

    def start_tls(self) -> None:
        """Begin TLS once the replies so far are sent."""
        self.upgrading = True
        self._transport.pause_reading()  # the handshake is not ours to read
        self.buffer.clear()  # what came in the clear behind STARTTLS is not the client's word (RFC 3207, 6)
        self._upgrade_task = asyncio.get_running_loop().create_task(self._upgrade())

    async def _upgrade(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._due - loop.time())
        if self.listener.starttls == "broken":
            self._transport.write(b"not a handshake\r\n")
            self._transport.close()
            return
        try:
            secure = await loop.start_tls(self._transport, self, self._tls, server_side=True)
        except (OSError, ssl.SSLError):  # the client's affair: it may not like the certificate
            self._transport.abort()
            return
        assert isinstance(secure, asyncio.Transport)
        self._transport, self.secure, self.upgrading = secure, True, False
        self.secured()
        self.note("tls")
        self.data_received(b"")

    def now(self) -> float:
        """Seconds since the sink's start."""
        return time.monotonic() - self.parts.began

    def note(
        self,
        what: str,
        mail_from: str = "",
        rcpt_to: str = "",
        command: str = "",
        size: int = 0,
        reply: str = "",
        kept: bool = False,
    ) -> None:
        """Add a receipt."""
        place = (self._number, self.source, self.listener.host)
        self.parts.receipts.add(Receipt(time.time(), what, *place, mail_from, rcpt_to, command, size, reply, kept))

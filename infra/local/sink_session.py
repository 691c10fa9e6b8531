"""One SMTP session of the sink of providers. It takes one recipient a mail, as delivery sends.

On a raw asyncio.Protocol: some 50 µs of CPU a mail, more under TLS.
"""

import re
import ssl
import time
from collections.abc import Callable

from infra.local.sink_answers import SinkAnswer
from infra.local.sink_connection import SinkConnection, SinkParts
from infra.local.sink_mails import ReceivedMail
from infra.local.sink_script import Listener

LARGEST_MAIL = 33_554_432
LONGEST_LINE = 4096
_PATH = re.compile(rb"(?:FROM|TO):\s*<([^<>]*)>", re.IGNORECASE)
_COMMAND_HEADER = b"X-Ebbtide-Command: "
_END_OF_DATA = b"\r\n.\r\n"
_KEPT = b"250 2.0.0 kept\r\n"


class SinkSession(SinkConnection):
    """Commands and messages."""

    def __init__(self, parts: SinkParts, listener: Listener, tls: ssl.SSLContext) -> None:
        super().__init__(parts, listener, tls)
        self._read: Callable[[], bool] = self._read_command
        self._mails = 0
        self._forget_mail()

    def read(self) -> bool:
        """Answer one command, or take one piece of a message; False if it is not complete."""
        return self._read()

    def secured(self) -> None:
        """The session begins anew."""
        self._forget_mail()

    def _forget_mail(self) -> None:
        self._mail_from: str | None = None
        self._to, self.provider = "", self.parts.answers.anybody
        self._chunks = bytearray()
        self._scanned = 0

    def _read_command(self) -> bool:
        end = self.buffer.find(b"\n")
        if end < 0:
            if len(self.buffer) > LONGEST_LINE:
                self.reply("", SinkAnswer("421 4.5.2 line too long"))
            return False
        line = bytes(self.buffer[: end + 1]).rstrip(b"\r\n")
        del self.buffer[: end + 1]
        verb, _, argument = line.partition(b" ")
        handler = _COMMANDS.get(verb.upper())
        if handler is None:
            self.reply("500 5.5.2 command not known")
        else:
            handler(self, argument)
        return not self.upgrading

    def _ehlo(self, _: bytes) -> None:
        listener = self.listener
        offers = {
            "PIPELINING": listener.pipelining,
            "CHUNKING": listener.chunking,
            "8BITMIME": listener.eightbitmime,
            "SMTPUTF8": listener.smtputf8,
            "STARTTLS": listener.starttls != "stripped" and not self.secure,
            f"LIMITS MAILMAX={listener.mails} RCPTMAX=1": listener.mails is not None,
            f"SIZE {LARGEST_MAIL}": True,
            "ENHANCEDSTATUSCODES": True,
        }
        lines = [listener.names[0], *(name for name, offered in offers.items() if offered)]
        self._forget_mail()
        self.reply("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    def _helo(self, _: bytes) -> None:
        self._forget_mail()
        self.reply(f"250 {self.listener.names[0]}")

    def _starttls(self, _: bytes) -> None:
        if self.listener.starttls == "stripped" or self.secure:
            self.reply("502 5.5.1 not offered")
            return
        self.reply("220 2.0.0 go ahead")
        self.start_tls()

    def _mail(self, argument: bytes) -> None:
        found = _PATH.match(argument)
        answer = self.parts.answers.before_recipient("mail", self.source, self.now())
        if answer is None and self.listener.mails is not None and self._mails >= self.listener.mails:
            answer = SinkAnswer("421 4.7.0 enough mails on this connection")
        if found is None:
            self.reply("501 5.5.4 MAIL FROM:<address>, please")
            return
        if answer is None:
            self._forget_mail()
            self._mail_from = found[1].decode("utf-8", "replace")
            self._mails += 1
        self.reply("250 2.1.0 sender ok", answer)

    def _rcpt(self, argument: bytes) -> None:
        found = _PATH.match(argument)
        if self._mail_from is None or found is None:
            self.reply("503 5.5.1 MAIL first" if found else "501 5.5.4 RCPT TO:<address>, please")
            return
        if self._to:
            self.reply("452 4.5.3 one recipient a mail, please")
            return
        to = found[1].decode("utf-8", "replace")
        answers = self.parts.answers
        self.provider = answers.provider(to)
        answer = answers.at_recipient(self.provider, self.source, self._mail_from, to, self.now())
        if answer is None:
            self._to = to
        else:
            self.note("rcpt", self._mail_from, to, reply=answer.text)
        self.reply("250 2.1.5 recipient ok", answer)

    def _data(self, _: bytes) -> None:
        if not self._to:
            self.reply("503 5.5.1 RCPT first")
            return
        answer = self.parts.answers.at_message(self.provider, "data", self.source, self._to, self.now())
        if answer is None:
            self._read = self._read_data
        self.reply("354 go ahead", answer)

    def _read_data(self) -> bool:
        if self.buffer.startswith(_END_OF_DATA[2:]):
            end, rest = 0, 3
        else:
            end = self.buffer.find(_END_OF_DATA, self._scanned)
            rest = end + len(_END_OF_DATA)
        if end < 0:
            self._scanned = max(0, len(self.buffer) - len(_END_OF_DATA) + 1)
            if len(self.buffer) > LARGEST_MAIL:
                self.reply("", SinkAnswer("421 4.3.4 too large"))
            return False
        content = bytes(self.buffer[: end + 2])
        del self.buffer[:rest]
        self._read = self._read_command
        self._take(content, stuffed=True)
        return True

    def _bdat(self, argument: bytes) -> None:
        size, _, last = argument.partition(b" ")
        if not size.isdigit() or int(size) > LARGEST_MAIL:
            self.reply("", SinkAnswer("421 5.5.4 BDAT SIZE [LAST], please"))
            return
        self._chunk_left, self._chunk_is_last = int(size), last.strip().upper() == b"LAST"
        self._read = self._read_chunk
        if not self._chunk_left:
            self._read_chunk()

    def _read_chunk(self) -> bool:
        if len(self.buffer) < self._chunk_left:
            return False
        self._chunks += self.buffer[: self._chunk_left]
        del self.buffer[: self._chunk_left]
        self._read = self._read_command
        if not self._to:
            self.reply("503 5.5.1 RCPT first")
        elif self._chunk_is_last:
            self._take(bytes(self._chunks), stuffed=False)
        else:
            self.reply("250 2.0.0 chunk ok")
        return True

    def _take(self, content: bytes, *, stuffed: bool) -> None:
        """Record a whole mail, and answer it."""
        answer = self.parts.answers.at_message(self.provider, "dot", self.source, self._to, self.now())
        kept = answer is None or answer.keep
        if kept and self.parts.mails is not None:
            raw = content.replace(b"\r\n..", b"\r\n.") if stuffed else content
            self.parts.mails.keep(ReceivedMail(self._mail_from or "", self._to, raw, time.time()))
        at = content.find(_COMMAND_HEADER) + len(_COMMAND_HEADER)
        command = (
            content[at : content.find(b"\r\n", at)].decode("ascii", "replace") if at >= len(_COMMAND_HEADER) else ""
        )
        reply = "250" if answer is None else answer.text
        self.note("mail", self._mail_from or "", self._to, command=command, size=len(content), reply=reply, kept=kept)
        provider = self.provider
        self._forget_mail()
        self.provider = provider  # whose latency this reply has
        if answer is None:
            self.replies.append(_KEPT)
        else:
            self.reply("", answer)

    def _rset(self, _: bytes) -> None:
        self._forget_mail()
        self.reply("250 2.0.0 ok")

    def _noop(self, _: bytes) -> None:
        self.reply("250 2.0.0 ok")

    def _quit(self, _: bytes) -> None:
        self.reply("221 2.0.0 bye")
        self.closing = True


_COMMANDS: dict[bytes, Callable[[SinkSession, bytes], None]] = {
    b"EHLO": SinkSession._ehlo,
    b"HELO": SinkSession._helo,
    b"STARTTLS": SinkSession._starttls,
    b"MAIL": SinkSession._mail,
    b"RCPT": SinkSession._rcpt,
    b"DATA": SinkSession._data,
    b"BDAT": SinkSession._bdat,
    b"RSET": SinkSession._rset,
    b"NOOP": SinkSession._noop,
    b"QUIT": SinkSession._quit,
}

"""Makes SMTP replies from the bytes of a server (RFC 5321, 4.2). Pure, strict, and bounded whatever the bytes are."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

MAX_LINE: Final = 4096
"""Bytes of one line; the standard grants 512 (RFC 5321, 4.5.3.1.5), and some servers write more."""
MAX_LINES: Final = 128
MAX_REPLY: Final = 32_768
"""Bytes of one reply, over all its lines."""

_LINE = re.compile(rb"([0-9]{3})(?:([ -])(.*))?\r?", re.DOTALL)


class BadReply(ValueError):
    """The server wrote what is no SMTP reply, too much of it, or a reply to no command."""


class RawReply(NamedTuple):
    """The code, and the text of all lines, joined by line feeds."""

    code: int
    text: str


class ReplyParser:
    """Keeps what is not a whole reply yet. After BadReply, and once `closing`, it must not be used again."""

    __slots__ = ("_code", "_rest", "_size", "_texts", "closing")

    def __init__(self) -> None:
        self._rest = b""
        self._code = b""
        self._texts: list[bytes] = []
        self._size = 0
        self.closing = False
        """Whether 421 came to no command, as a server may say at any time (RFC 5321, 3.8)."""

    @property
    def idle(self) -> bool:
        """Whether no part of a reply is waiting for its end."""
        return not self._rest and not self._texts

    def feed(self, data: bytes, expected: int) -> Sequence[RawReply]:
        """The replies that `data` completes, at most `expected`; raises BadReply if it has more lines than these."""
        if self._rest:
            data = self._rest + data
        replies: list[RawReply] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            if len(replies) == expected:
                self.closing = data.startswith(b"421", start)
                if self.closing:
                    return replies
                raise BadReply("a reply to no command")
            reply = self._line(data[start:end])
            if reply is not None:
                replies.append(reply)
            start = end + 1
        self._rest = data[start:]
        if len(self._rest) > MAX_LINE:
            raise BadReply("a line without an end")
        return replies

    def _line(self, line: bytes) -> RawReply | None:
        """The reply that this line ends, or None."""
        found = _LINE.fullmatch(line) if len(line) <= MAX_LINE else None
        if found is None:
            raise BadReply("a line that is no reply")
        code, mark, text = found.groups()
        if self._texts and code != self._code:
            raise BadReply("a reply with two codes")
        if mark != b"-" and not self._texts:
            return RawReply(int(code), _decoded((text or b"").strip()))
        self._texts.append((text or b"").strip())
        self._size += len(line)
        if len(self._texts) > MAX_LINES or self._size > MAX_REPLY:
            raise BadReply("a reply without an end")
        self._code = code
        return None if mark == b"-" else self._whole()

    def _whole(self) -> RawReply:
        text = _decoded(b"\n".join(self._texts))
        self._texts.clear()
        self._size = 0
        return RawReply(int(self._code), text)


def _decoded(text: bytes) -> str:
    """The text of a reply. Old servers write Latin-1, whose letters the rules of bounces need."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")

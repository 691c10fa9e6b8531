"""Quoted-printable (RFC 2045, 6.7) that no relay changes, and that is in DKIM's relaxed form (RFC 6376, 3.4.4).

Lines have at most 76 bytes and end in CRLF. There is no tab, no two blanks in a row, no blank at the end of a line, and
no dot and no `From ` at its beginning. A text is encoded piece by piece. Each encoded piece begins on its own line:
where its text has no line end, it ends in a soft break. So a template's own pieces, which are in each of its mails, are
encoded once.
"""

import re
from collections.abc import Iterable

LONGEST_LINE = 76
_ROOM = LONGEST_LINE - len("=") - 2
"""How much of the text a row takes: the soft break needs one byte, and a code at the beginning of the row two more."""
_PLAIN = re.compile(r"(?!\.|From )[!-<>-~]+(?: [!-<>-~]+)*")
_TO_ENCODE = re.compile(rb"[^ -<>-~\n]")
_CODES = {bytes([byte]): b"=%02X" % byte for byte in range(256)}
_SOFT_BREAK = b"=\r\n"


class StaticText(str):
    """A piece that is the same in every mail of a template. It is encoded once."""

    __slots__ = ("encoded", "size")
    encoded: bytes
    size: int
    """Bytes of UTF-8."""

    def __new__(cls, text: str) -> "StaticText":
        self = super().__new__(cls, text)
        self.encoded, self.size = encode(text), len(text.encode())
        return self


def body(pieces: Iterable[str]) -> bytes:
    """The encoded text of these pieces, with one line end after its last line."""
    encoded = b"".join([piece.encoded if type(piece) is StaticText else encode(piece) for piece in pieces])
    return encoded.rstrip(_SOFT_BREAK) + b"\r\n"  # no other `=` ends a piece: a code has two digits after it


def encode(text: str) -> bytes:
    """One encoded piece. `\\n`, CR LF and CR each end a line."""
    if len(text) <= _ROOM and _PLAIN.fullmatch(text):
        return text.encode("ascii") + _SOFT_BREAK
    raw = text.encode().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    raw = _TO_ENCODE.sub(lambda found: _CODES[found[0]], raw)
    raw = raw.replace(b"  ", b" =20").replace(b" \n", b"=20\n")
    if raw.endswith(b" "):
        raw = raw[:-1] + b"=20"
    rows = b"\r\n" + b"\r\n".join([line if len(line) <= _ROOM else _rows(line) for line in raw.split(b"\n")])
    rows = rows.replace(b"\r\n.", b"\r\n=2E").replace(b"\r\nFrom ", b"\r\n=46rom ")[2:]
    return rows if rows.endswith(b"\r\n") or not rows else rows + _SOFT_BREAK


def _rows(line: bytes) -> bytes:
    """A long encoded line as rows with soft breaks between them. No `=XX` is split."""
    rows, start = [], 0
    while len(line) - start > _ROOM:
        code = line.rfind(b"=", start + _ROOM - 2, start + _ROOM)
        end = start + _ROOM if code < 0 else code
        rows.append(line[start:end])
        start = end
    rows.append(line[start:])
    return _SOFT_BREAK.join(rows)

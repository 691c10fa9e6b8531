"""Header fields in ASCII: single spaces, lines folded at 78 characters, other characters in encoded-words.

RFC 5322, 2.1.1 and 2.2.3 (lines and folding); RFC 2047, 2 and 5 (encoded-words).
"""

import base64
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

LONGEST_LINE = 78
"""Without CRLF. A line should not be longer. It must not pass 998, which only an address or a URL can reach."""
_LONGEST_ENCODED = 64
"""The longest encoded-word. RFC 2047 allows 75, but the field's name stands before the first in a line of 76."""

CRLF = "\r\n"

_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
_WHITE = re.compile(r"[ \t\n\x0b\x0c\r\x1c-\x1f\x85\u2028\u2029]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_PRINTABLE = re.compile(r"[ -~]*")
_SAFE_IN_Q = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
"""RFC 2047, 5 (3): the characters that need no code in an encoded-word of a display name."""


class Field(NamedTuple):
    """A header field: its name, and its line or lines with the CRLF. No two blanks stand in a row in it."""

    name: str
    line: str

    @property
    def relaxed(self) -> str:
        """The field in DKIM's relaxed form (RFC 6376, 3.4.2)."""
        return f"{self.name.lower()}:{self.line[len(self.name) + 2 : -2].replace(CRLF, '')}\r\n"


class HeaderError(ValueError):
    """A header's value cannot be written safely. The message names the header, never the value."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


def one_line(text: str) -> str:
    """The text with each run of white space as one space, and without control characters."""
    return _WHITE.sub(" ", _INVISIBLE.sub("", text)).strip(" ")


def checked(name: str, value: str) -> str:
    """The value, which is written as it is; raises HeaderError if it holds a control character."""
    if _CONTROL.search(value):
        raise HeaderError(name, "control characters are not allowed")
    return value


def text_field(name: str, value: str) -> Field:
    """A field of free text such as Subject."""
    value = one_line(value)
    words = value.split(" ")
    plain = _PRINTABLE.fullmatch(value) and "=?" not in value and _fit(name, words)
    return _folded(name, words if plain else _encoded_words(value))


def mailbox_field(name: str, display: str, address: str) -> Field:
    """A field with one mailbox; raises HeaderError at a control character in the address."""
    checked(name, address)
    words = _phrase(name, one_line(display))
    return _folded(name, [*words, f"<{address}>"] if words else [address])


def field(name: str, value: str) -> Field:
    """A field whose value is written as it is; raises HeaderError at a control character or two blanks in a row."""
    if "  " in value:
        raise HeaderError(name, "two blanks in a row")
    return Field(name, f"{name}: {checked(name, value)}\r\n")


def _phrase(name: str, display: str) -> list[str]:
    """A display name as words between which the line may be folded (RFC 5322, 3.2.5)."""
    if not display:
        return []
    written = display
    if not _ATOMS.fullmatch(display):
        written = '"' + re.sub(r'([\\"])', r"\\\1", display) + '"'
    words = written.split(" ")
    plain = _PRINTABLE.fullmatch(display) and "=?" not in display and _fit(name, words)
    return words if plain else _encoded_words(display)


def _fit(name: str, words: list[str]) -> bool:
    return max(map(len, words)) <= LONGEST_LINE - len(name) - 2


def _folded(name: str, words: list[str]) -> Field:
    lines = [f"{name}: {words[0]}"]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= LONGEST_LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(f" {word}")
    return Field(name, CRLF.join(lines) + CRLF)


def _encoded_words(text: str) -> list[str]:
    """The text in encoded-words of the shorter encoding. No character is split between two words (RFC 2047, 5)."""
    raw = text.encode()
    as_q = sum(map(_length_in_q, raw))
    if as_q <= -(-len(raw) // 3) * 4:
        return [f"=?utf-8?q?{_q(part)}?=" for part in _parts(text, lambda raw: sum(map(_length_in_q, raw)))]
    encoded = _parts(text, lambda raw: -(-len(raw) // 3) * 4)
    return [f"=?utf-8?b?{base64.b64encode(part).decode()}?=" for part in encoded]


def _parts(text: str, length: Callable[[bytes], int]) -> Iterator[bytes]:
    """The text's bytes in parts of whole characters. Each part fits into one encoded-word."""
    room = _LONGEST_ENCODED - len("=?utf-8?q??=")
    part = b""
    for character in text:
        longer = part + character.encode()
        if length(longer) > room:
            yield part
            longer = character.encode()
        part = longer
    yield part


def _length_in_q(byte: int) -> int:
    return 1 if byte in _SAFE_IN_Q or byte == 0x20 else 3


def _q(part: bytes) -> str:
    return "".join(chr(byte) if byte in _SAFE_IN_Q else "_" if byte == 0x20 else f"={byte:02X}" for byte in part)

"""Reads files as UTF-8; an error names the file and what to do."""

import sys
from pathlib import Path
from typing import IO, Any

from schemas.codec import DecodeError, parse_json
from schemas.errors import UserError
from schemas.vocabulary import DeadLetterCause

STANDARD_INPUT = "-"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_BOM = b"\xef\xbb\xbf"


class UnreadableFile(UserError):
    """A file cannot be read; the message names it and says what to do."""


def read_bytes(place: Path | str) -> bytes:
    """Reads a file, or standard input for `-`; raises UnreadableFile."""
    if str(place) == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        return Path(place).read_bytes()
    except OSError as error:
        raise UnreadableFile(f"{place}: {error.strerror or error}") from None


def decoded(raw: bytes, place: object) -> str:
    """Decodes UTF-8; raises UnreadableFile for another encoding."""
    if raw.startswith(_UTF_16):
        raise UnreadableFile(f"{place}: it is UTF-16; save it as UTF-8")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"{place}: not UTF-8 at byte {error.start}; save it as UTF-8") from None


def opened(place: Path) -> IO[bytes]:
    """Opens a file of lines for reading; raises UnreadableFile."""
    try:
        return place.open("rb")
    except OSError as error:
        raise UnreadableFile(f"{place}: {error.strerror or error}") from None


def without_mark(line: bytes, place: object) -> bytes:
    """The first line of a file without its byte order mark; raises UnreadableFile if the file is UTF-16."""
    if line.startswith(_UTF_16):
        raise UnreadableFile(f"{place}: it is UTF-16; save it as UTF-8")
    return line.removeprefix(_BOM)


def read_text(place: Path | str) -> str:
    """The text of a file; every line end becomes `\\n`, a byte order mark stays. Raises UnreadableFile."""
    return decoded(read_bytes(place), place).replace("\r\n", "\n").replace("\r", "\n")


def read_json(place: Path | str) -> Any:
    """The JSON value in a file, without a byte order mark; raises UnreadableFile."""
    return json_of(read_bytes(place).removeprefix(_BOM), place)


def json_of(raw: bytes, place: object) -> Any:
    """The JSON value of bytes in UTF-8; raises UnreadableFile."""
    decoded(raw, place)
    try:
        return parse_json(raw)
    except DecodeError as error:
        not_json = "not JSON: " if error.cause is DeadLetterCause.NOT_JSON else ""
        raise UnreadableFile(f"{place}: {not_json}{error}") from None

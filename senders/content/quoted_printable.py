"""Quoted-printable (RFC 2045, 6.7): lines of at most 76 bytes, ended by CRLF, and with no white space at their end.

`binascii.b2a_qp` is not used: it writes a line of 77 bytes where a line of 75 ends in white space.
"""

import re
from collections.abc import Iterator

LONGEST_LINE = 76
_TO_ENCODE = re.compile(rb"[^\t -<>-~]")
_CODES = {bytes([byte]): b"=%02X" % byte for byte in range(256)}


def encode(body: bytes) -> bytes:
    """The encoded text. `\\n`, CR LF and CR each end a line."""
    lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return b"\r\n".join(row for line in lines for row in _rows(_encoded(line)))


def _encoded(line: bytes) -> bytes:
    line = _TO_ENCODE.sub(lambda found: _CODES[found[0]], line)
    if line.endswith((b" ", b"\t")):
        line = line[:-1] + _CODES[line[-1:]]
    # A line with only a dot ends the mail at a relay without dot-stuffing (RFC 2049, 3).
    return b"=2E" if line == b"." else line


def _rows(line: bytes) -> Iterator[bytes]:
    """An encoded line as rows, all but the last with the soft break `=` at the end. No `=XX` is split."""
    start = 0
    while len(line) - start > LONGEST_LINE:
        end = start + LONGEST_LINE - 1
        code = line.rfind(b"=", end - 2, end)
        end = end if code < 0 else code
        yield line[start:end] + b"="
        start = end
    yield line[start:]

"""Inflates a body by gzip (RFC 1952) within a bound: neither a bomb nor a swarm of members costs more than the limit.

The first bytes decide and not the header `Content-Encoding`: SDKs and proxies leave out the one or undo the other, and
no JSON begins as gzip does.
"""

import zlib

from web.ingest.reading import CallProblem

_MAGIC = b"\x1f\x8b"
_GZIP = 16 + zlib.MAX_WBITS
_MEMBERS = 16
"""SDKs send one. Each costs a copy of all that follows it, so an unbounded number would cost the square of the body."""
_NONE = frozenset({"", "identity", "gzip", "x-gzip"})


def inflated(body: bytes, encoding: str, limit: int) -> bytes | CallProblem:
    """The body as it was before gzip. Problem 413 beyond `limit` bytes, 400 if it ends early, 415 for other encodings.

    It never holds more than about twice the limit.
    """
    if not body.startswith(_MAGIC):
        if encoding.strip().lower() not in _NONE:
            return CallProblem(415, "Content-Encoding", "must be gzip or absent")
        return body if len(body) <= limit else _too_large(limit)
    try:
        return _members(body, limit)
    except zlib.error:
        return CallProblem(400, "body", "not valid gzip")


def _members(body: bytes, limit: int) -> bytes | CallProblem:
    parts: list[bytes] = []
    room = limit
    for _ in range(_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        part = member.decompress(body, room + 1)
        room -= len(part)
        if room < 0:
            return _too_large(limit)
        if not member.eof:
            return CallProblem(400, "body", "the gzip data ends too early")
        parts.append(part)
        body = member.unused_data.lstrip(b"\0")  # some programs pad
        if not body:
            return parts[0] if len(parts) == 1 else b"".join(parts)
    return CallProblem(400, "body", f"more than {_MEMBERS} gzip members")


def _too_large(limit: int) -> CallProblem:
    return CallProblem(413, "body", f"more than {limit} bytes, inflated")

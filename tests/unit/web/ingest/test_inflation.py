"""Bodies by gzip, within a bound."""

import gzip
import tracemalloc
import zlib

import pytest

from web.ingest.inflation import inflated
from web.ingest.reading import CallProblem

LIMIT = 4_194_304
BODY = b'{"batch":[]}'
PACKED = gzip.compress(BODY, mtime=0)
"""Without the time: as an argument of tests it is part of their names, on which all processes of a run must agree."""


def status(outcome: bytes | CallProblem) -> int:
    assert isinstance(outcome, CallProblem)
    return outcome.status


@pytest.mark.parametrize("encoding", ["", "gzip", "x-gzip", " GZIP ", "identity"])
@pytest.mark.parametrize("body", [BODY, PACKED])
def test_the_bytes_decide_whether_a_body_is_gzip(body: bytes, encoding: str) -> None:
    assert inflated(body, encoding, LIMIT) == BODY


def test_members_one_after_the_other_are_one_body() -> None:
    members = [gzip.compress(part) for part in (b'{"batch"', b":", b"", b"[]}")]
    assert inflated(b"".join(members), "gzip", LIMIT) == BODY
    assert inflated(b"".join(members) + b"\0" * 10, "gzip", LIMIT) == BODY


def test_every_truncation_is_told() -> None:
    packed = gzip.compress(BODY) + gzip.compress(BODY)
    whole = len(gzip.compress(BODY))
    for length in range(2, len(packed)):
        if length != whole:
            assert status(inflated(packed[:length], "gzip", LIMIT)) == 400, length


@pytest.mark.parametrize(
    "body",
    [
        PACKED[:-8] + bytes(8),
        PACKED + b"more",
        b"\x1f\x8b" + bytes(20),
        gzip.compress(b"", mtime=0) * 17,
    ],
)
def test_what_is_not_gzip_is_a_400(body: bytes) -> None:
    assert status(inflated(body, "gzip", LIMIT)) == 400


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip"])
def test_another_encoding_is_a_415(encoding: str) -> None:
    assert status(inflated(zlib.compress(BODY), encoding, LIMIT)) == 415


def test_the_limit_is_that_of_the_inflated_body() -> None:
    assert inflated(bytes(100), "", 100) == bytes(100)
    assert status(inflated(bytes(101), "", 100)) == 413
    assert inflated(gzip.compress(bytes(100)), "gzip", 100) == bytes(100)
    assert status(inflated(gzip.compress(bytes(101)), "gzip", 100)) == 413
    assert status(inflated(gzip.compress(bytes(60)) + gzip.compress(bytes(60)), "gzip", 100)) == 413


def test_a_bomb_costs_less_than_16_mib() -> None:
    """One that inflates to 256 MiB, one of many members, and one of more members than are taken."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    piece = bytes(1 << 20)
    bomb = b"".join(packer.compress(piece) for _ in range(256)) + packer.flush()
    for body in (bomb, gzip.compress(piece) * 16, gzip.compress(b"") * 200_000):
        tracemalloc.start()
        try:
            assert status(inflated(body, "gzip", LIMIT)) in (400, 413)
            assert tracemalloc.get_traced_memory()[1] < 16 << 20
        finally:
            tracemalloc.stop()

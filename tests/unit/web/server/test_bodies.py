"""Bodies: their size, their time, and what all of them take together."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from web.server.bodies import BodyReader, BodyRefused


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def never() -> AsyncIterator[bytes]:
    yield b"one"
    await asyncio.Event().wait()


async def test_a_body_is_put_together() -> None:
    assert await BodyReader(10, 1.0).read(chunks(b"ab", b"", b"cd"), None) == b"abcd"


@pytest.mark.parametrize(("length", "size"), [(None, None), ("0", 0), ("10", 10)])
def test_a_length_is_read(length: str | None, size: int | None) -> None:
    assert BodyReader(10, 1.0).announced(length) == size


@pytest.mark.parametrize(
    ("length", "status"), [("11", 413), ("9" * 5_000, 413), ("-1", 400), ("", 400), ("1e3", 400), ("٣", 400)]
)
def test_a_length_that_cannot_be_is_refused(length: str, status: int) -> None:
    with pytest.raises(BodyRefused) as refused:
        BodyReader(10, 1.0).announced(length)
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("parts", "announced", "status"),
    [((b"x" * 6, b"y" * 5), None, 413), ((b"abc",), 4, 400), ((), 1, 400)],
)
async def test_a_body_over_its_limit_or_cut_off_is_refused(
    parts: tuple[bytes, ...], announced: int | None, status: int
) -> None:
    reader = BodyReader(10, 1.0)
    with pytest.raises(BodyRefused) as refused:
        await reader.read(chunks(*parts), announced)
    assert (refused.value.status, reader.taken) == (status, 0)


async def test_a_slow_body_is_cut_off_and_the_request_goes_on() -> None:
    reader = BodyReader(10, 0.01)
    with pytest.raises(BodyRefused) as refused:
        await reader.read(never(), None)
    task = asyncio.current_task()
    assert (refused.value.status, reader.taken) == (408, 0)
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    reading = asyncio.ensure_future(BodyReader(10, 60.0).read(never(), None))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_all_bodies_together_are_bounded() -> None:
    reader = BodyReader(10, 60.0, together=15)
    first = asyncio.ensure_future(reader.read(never(), None))
    await asyncio.sleep(0)
    assert reader.taken == 3
    assert await reader.read(chunks(b"x" * 10), 10) == b"x" * 10
    second = asyncio.ensure_future(reader.read(never(), None))
    await asyncio.sleep(0)
    with pytest.raises(BodyRefused) as refused:
        await reader.read(chunks(b"x" * 10), 10)
    assert refused.value.status == 429
    for each in (first, second):
        each.cancel()
    await asyncio.wait({first, second})
    assert reader.taken == 0

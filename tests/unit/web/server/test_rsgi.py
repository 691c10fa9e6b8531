"""The front door by RSGI: which way a body is read, whatever headers a server lets through."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from web.http import Answer, Request
from web.server.bodies import BodyReader
from web.server.front_door import FrontDoor
from web.server.rsgi import RsgiApp


class Unwatched:
    def answered(self, path: str, status: int) -> None:
        pass


@dataclass
class Fields:
    fields: dict[str, str]

    def items(self) -> list[tuple[str, str]]:
        return list(self.fields.items())


@dataclass
class Post:
    headers: Fields
    proto: str = "http"
    method: str = "POST"
    path: str = "/a"
    query_string: str = ""


@dataclass
class Exchange:
    """What a client sends, and the status that it gets."""

    parts: Sequence[bytes]
    collected: bool = False
    found: list[tuple[int, bytes]] = field(default_factory=list)

    async def __call__(self) -> bytes:
        self.collected = True
        return b"".join(self.parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:  # noqa: ARG002
        self.found.append((status, body))


async def echo(request: Request) -> Answer:
    return Answer(200, (), request.body)


async def ask(exchange: Exchange, headers: dict[str, str]) -> tuple[int, bytes]:
    await RsgiApp(FrontDoor(echo, BodyReader(10, 5.0), Unwatched())).__rsgi__(Post(Fields(headers)), exchange)
    [found] = exchange.found
    return found


async def test_a_small_body_is_read_at_once() -> None:
    exchange = Exchange([b"ab", b"cd"])
    assert await ask(exchange, {"content-length": "4"}) == (200, b"abcd")
    assert exchange.collected


@pytest.mark.parametrize(("parts", "status"), [([b"x" * 6, b"y" * 5], 413), ([b"ab", b"cd"], 200)])
async def test_a_length_beside_chunks_bounds_nothing(parts: Sequence[bytes], status: int) -> None:
    """Servers remove it; some versions did not where it stood before the coding."""
    exchange = Exchange(parts)
    assert (await ask(exchange, {"content-length": "3", "transfer-encoding": "chunked"}))[0] == status
    assert not exchange.collected


@pytest.mark.parametrize("parts", [[b"abc"], [b"abcde"]])
async def test_a_small_body_of_another_length_is_refused(parts: Sequence[bytes]) -> None:
    assert (await ask(Exchange(parts), {"content-length": "4"}))[0] == 400

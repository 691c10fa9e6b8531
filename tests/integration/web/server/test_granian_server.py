"""A front door behind granian: hostile and slow clients on the socket, ends in the middle of requests, and HEAD."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from infra.service.health import resident_bytes
from web.http import Answer, Request
from web.server.bodies import BodyReader
from web.server.front_door import FrontDoor
from web.server.granian_server import GranianServer
from web.server.listening import listen
from web.server.rsgi import RsgiApp

LARGEST = 1_000_000
TIMEOUT_S = 0.5
PATIENT_S = 20.0
"""Longer than anything takes on a busy machine."""
POST = b"POST /x HTTP/1.1\r\nHost: a\r\n"


class Answers:
    """The status of each answer, also of one that its client did not get to read."""

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def answered(self, _path: str, status: int) -> None:
        self.statuses.append(status)


class Site:
    """A server, and its listening socket, which outlives it as under a supervisor."""

    def __init__(self, header_s: float) -> None:
        self.released = asyncio.Event()
        self.listener = listen("127.0.0.1", 0)
        self.port: int = self.listener.getsockname()[1]
        self.answers = Answers()
        self.door = FrontDoor(self._answer, BodyReader(LARGEST, TIMEOUT_S), self.answers)
        self.server = GranianServer(RsgiApp(self.door), self.listener, header_s)
        self.serving = self.server.start()

    async def _answer(self, request: Request) -> Answer:
        if request.path == "/wait":
            await self.released.wait()
        return Answer(200, (("x-method", request.method),), b"%d" % len(request.body))

    async def say(self, *parts: bytes) -> bytes:
        """What the server says to these bytes until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
        found = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(20):
                while data := await reader.read(65_536):
                    found += data
        writer.close()
        return found


@pytest_asyncio.fixture
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """A server that waits TIMEOUT_S for the headers, or as long as the test says, and TIMEOUT_S for a body."""
    made = Site(getattr(request, "param", TIMEOUT_S))
    yield made
    made.released.set()
    await made.server.stop(5)
    made.listener.close()


def status(said: bytes) -> int:
    return int(said.split(b" ", 2)[1])


SLOW = {
    "headers": (b"POST /x HTTP/1.1\r\nHost", None),
    "nothing": (b"", None),
    "a small body": (POST + b"Content-Length: 10\r\n\r\nabc", 408),
    "a large body": (POST + b"Content-Length: 900000\r\n\r\nabc", 408),
    "chunks": (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", 408),
    "the next request": (b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 200),
}


@pytest.mark.parametrize("what", SLOW)
async def test_a_slow_client_is_cut_off(site: Site, what: str) -> None:
    sent, expected = SLOW[what]
    said = await site.say(sent)
    assert (status(said) if said else None) == expected
    assert (site.door.in_flight, site.door.bodies.taken) == (0, 0)


LENGTH, CHUNKED = b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n"
HOSTILE: dict[str, tuple[Sequence[bytes], int | None]] = {
    "all bytes": ([bytes(range(256)) * 8], 400),
    "zeros": ([b"\0" * 100_000], 400),
    "TLS": ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x8a" * 500], 400),
    "101 headers": ([POST, *(b"h%d: x\r\n" % number for number in range(101)), b"\r\n"], 431),
    "two lengths": ([POST, b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"], 400),
    "a negative length": ([POST, b"Content-Length: -3\r\n\r\nabcd"], 400),
    "a length beyond all numbers": ([POST, b"Content-Length: " + b"9" * 30 + b"\r\n\r\nabcd"], 400),
    "more than it takes": ([POST, b"Content-Length: 1000001\r\n\r\n"], 413),
    "too many chunks": ([POST, b"Transfer-Encoding: chunked\r\n\r\n", b"F4241\r\n", b"x" * 1_000_001], 413),
    "too many chunks behind a length": ([POST, LENGTH, CHUNKED, b"\r\nF4241\r\n", b"x" * 1_000_001], 413),
    "too many chunks before a length": ([POST, CHUNKED, LENGTH, b"\r\nF4241\r\n", b"x" * 1_000_001], 413),
    "an unknown coding": ([POST, b"Transfer-Encoding: zip\r\n\r\nabc"], 400),
    "HTTP/2": ([b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], None),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_request_is_refused_without_a_word_in_the_log(site: Site, what: str) -> None:
    sent, expected = HOSTILE[what]
    with capture_logs() as logs:
        said = await site.say(*sent)
    assert (status(said) if said else None) == expected
    assert logs == []
    assert status(await site.say(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")) == 200


async def test_nothing_is_read_behind_chunks_with_a_length(site: Site) -> None:
    """RFC 9112, 6.3: what follows might be a request to us, and a part of the body to a server between."""
    said = await site.say(POST, LENGTH, CHUNKED, b"\r\n3\r\nabc\r\n0\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert said.endswith(b"\r\n\r\n3")
    assert said.count(b"HTTP/1.1 ") == 1


async def test_a_request_of_100_000_headers_is_cut_off(site: Site) -> None:
    said = await site.say(POST, *(b"h%d: x\r\n" % number for number in range(100_000)), b"\r\n")
    assert not said or status(said) == 431  # who still sends may not get to read the answer


@pytest.mark.parametrize("site", [PATIENT_S], indirect=True)
async def test_many_bodies_at_once_do_not_fill_the_memory(site: Site) -> None:
    site.door.bodies.together = 5_000_000
    before = resident_bytes()
    head = POST + b"Content-Length: 1000000\r\nConnection: close\r\n\r\n"
    pieces = [b"x" * 50_000] * 20  # the clients are in this process too, and keep what they have not sent
    said = await asyncio.gather(*(site.say(head, *pieces[1:], pieces[0][1:]) for _ in range(60)))
    async with asyncio.timeout(PATIENT_S):
        while len(site.answers.statuses) < 60:  # who still sends may be gone before its answer is noted
            await asyncio.sleep(0.01)
    assert len(site.answers.statuses) == 60
    assert set(site.answers.statuses) <= {408, 429}
    assert {status(each) for each in said if each} <= {408, 429}  # who still sends may not get to read the answer
    assert resident_bytes() - before < 100_000_000
    assert site.door.bodies.taken == 0
    site.door.bodies.within_s = PATIENT_S
    assert status(await site.say(head, *pieces)) == 200


async def test_head_gets_no_body_and_a_body_may_come_late(site: Site) -> None:
    said = await site.say(b"HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"x-method: HEAD" in said
    assert said.endswith(b"\r\n\r\n")
    said = await site.say(POST + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", b"abc")
    assert said.startswith(b"HTTP/1.1 100 Continue")
    assert said.endswith(b"\r\n\r\n3")


async def test_a_client_that_goes_in_the_middle_leaves_nothing_behind(site: Site) -> None:
    for sent in (POST + b"Content-Length: 100\r\n\r\nabc", b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", site.port)) as client:
            client.sendall(sent)
            await asyncio.sleep(0.05)
    site.released.set()
    end_s = asyncio.get_running_loop().time() + 5
    while site.door.in_flight and asyncio.get_running_loop().time() < end_s:
        await asyncio.sleep(0.01)
    assert site.door.in_flight == 0


async def test_a_stop_answers_what_was_taken_and_leaves_the_rest_to_the_next(site: Site) -> None:
    taken = [asyncio.ensure_future(site.say(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")) for _ in range(20)]
    while site.door.in_flight < len(taken):
        await asyncio.sleep(0.01)
    stopping = asyncio.ensure_future(site.server.stop(10))
    await asyncio.sleep(0.2)
    waiting = asyncio.ensure_future(site.say(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    site.released.set()
    assert [status(each) for each in await asyncio.gather(*taken)] == [200] * 20
    await stopping
    assert site.serving.done()
    successor = GranianServer(RsgiApp(site.door), site.listener, TIMEOUT_S)
    successor.start()
    assert status(await waiting) == 200
    await successor.stop(5)

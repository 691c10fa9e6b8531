"""The front door by ASGI, which any other server speaks: the same answers as by RSGI."""

from collections.abc import Sequence
from typing import Any

import pytest

from web.http import Answer, Request
from web.server.asgi import AsgiApp, Message
from web.server.bodies import BodyReader
from web.server.front_door import FrontDoor


class NoObserver:
    def answered(self, path: str, status: int) -> None:
        pass


async def echo(request: Request) -> Answer:
    return Answer(200, (("x-path", request.path),), request.query.encode() + request.body)


async def ask(
    parts: Sequence[bytes], headers: dict[str, str], method: str = "POST"
) -> tuple[int, dict[str, str], bytes]:
    """The answer to a body in these parts; the client goes if there is none left."""
    pending: list[dict[str, Any]] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if pending:
        pending[-1]["more_body"] = False
    sent: list[Message] = []

    async def receive() -> Message:
        return pending.pop(0) if pending else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/a", "query_string": b"q=1&", "headers": fields}
    await AsgiApp(FrontDoor(echo, BodyReader(10, 5.0), NoObserver()))(scope, receive, send)
    start, body = sent
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], found, body["body"]


@pytest.mark.parametrize("headers", [{"content-length": "4"}, {"transfer-encoding": "chunked"}])
async def test_a_body_in_parts_is_put_together(headers: dict[str, str]) -> None:
    status, found, body = await ask([b"ab", b"", b"cd"], headers)
    assert (status, found["x-path"], found["content-length"], body) == (200, "/a", "8", b"q=1&abcd")


async def test_head_tells_the_length_and_sends_nothing() -> None:
    status, found, body = await ask([], {}, "HEAD")
    assert (status, found["content-length"], body) == (200, "4", b"")


@pytest.mark.parametrize(
    ("parts", "headers", "status"),
    [
        ([b"x" * 11], {"transfer-encoding": "chunked"}, 413),
        ([], {"content-length": "11"}, 413),
        ([b"abc"], {"content-length": "4"}, 400),
        ([], {"content-length": "4"}, 400),
    ],
)
async def test_bounds_are_the_same(parts: Sequence[bytes], headers: dict[str, str], status: int) -> None:
    assert (await ask(parts, headers))[0] == status


async def test_the_life_of_the_server_is_followed() -> None:
    sent: list[str] = []

    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await AsgiApp(FrontDoor(echo, BodyReader(10, 5.0), NoObserver()))({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

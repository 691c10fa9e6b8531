"""The front door: what it gives to the handler, what it answers itself, and what it says while the process ends."""

from collections import Counter

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from web.http import Answer, Request
from web.server.asgi_bridge import asgi_handler
from web.server.bodies import BodyReader, BodyRefused
from web.server.front_door import FrontDoor


class AnswerCounts(Counter[tuple[str, int]]):
    def answered(self, path: str, status: int) -> None:
        self[path, status] += 1


async def echo(request: Request) -> Answer:
    if request.path == "/defect":
        raise ValueError("secret")
    return Answer(200, (("x-at", str(request.received_us)),), request.body + request.query.encode())


def door(seen: AnswerCounts) -> FrontDoor:
    return FrontDoor(echo, BodyReader(100, 1.0), seen, lambda: 5)


async def body() -> bytes:
    return b"body"


async def test_a_request_gets_the_handlers_answer() -> None:
    seen = AnswerCounts()
    entry = door(seen)
    assert await entry.answer("POST", "/a", "?q", {}, body) == Answer(200, (("x-at", "5"),), b"body?q")
    assert (await entry.answer("GET", "/a", "", {}, None)).body == b""
    assert (seen, entry.in_flight) == ({("/a", 200): 2}, 0)


async def test_a_defect_is_one_requests_and_says_nothing_of_it() -> None:
    seen = AnswerCounts()
    structlog.reset_defaults()
    with capture_logs() as logs:
        answer = await door(seen).answer("GET", "/defect", "", {}, None)
    assert (answer.status, dict(answer.headers)["retry-after"]) == (503, "1")
    assert "secret" not in answer.body.decode() + repr(logs)
    assert logs[0]["event"] == "request_failed"
    assert seen == {("/defect", 503): 1}


@pytest.mark.parametrize("status", [400, 408, 413, 429])
async def test_a_body_that_is_refused_ends_the_connection(status: int) -> None:
    async def refuse() -> bytes:
        raise BodyRefused(status, "too much")

    answer = await door(AnswerCounts()).answer("POST", "/a", "", {}, refuse)
    assert answer.status == status
    assert ("connection", "close") in answer.headers
    assert ("retry-after" in dict(answer.headers)) == (status == 429)
    assert orjson.loads(answer.body) == {"success": False, "field": "body", "code": status, "message": "too much"}


async def test_a_process_that_ends_closes_each_connection_after_its_answer() -> None:
    entry = door(AnswerCounts())
    entry.drains = True
    assert ("connection", "close") in (await entry.answer("GET", "/a", "", {}, None)).headers


async def test_an_application_of_asgi_answers_as_a_handler() -> None:
    async def application(scope, receive, send):  # type: ignore[no-untyped-def]
        message = await receive()
        assert (await receive())["type"] == "http.disconnect"
        headers = [(b"x-path", scope["path"].encode()), (b"content-length", b"99")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": message["body"], "more_body": True})
        await send({"type": "http.response.body", "body": scope["query_string"]})

    request = Request("POST", "/ä b", "a=1", {"host": "x"}, b"body-", 0)
    answer = await asgi_handler(application, "https")(request._replace(path="/ab"))
    assert answer == Answer(201, (("x-path", "/ab"),), b"body-a=1")

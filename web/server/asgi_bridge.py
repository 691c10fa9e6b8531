"""Calls an application of ASGI in this process as a handler: the pages of recipients stand behind it."""

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from web.http import Answer, Handler, Request
from web.server.asgi import Message, Receive, Send

Application = Callable[[Message, Receive, Send], Awaitable[None]]


def asgi_handler(application: Application, scheme: str) -> Handler:
    """The application as a handler. `scheme` is that by which recipients reach it, `http` or `https`."""

    async def handle(request: Request) -> Answer:
        parts: list[bytes] = []
        start: dict[str, Any] = {}
        pending = [{"type": "http.request", "body": request.body, "more_body": False}]

        async def receive() -> Message:
            return pending.pop() if pending else {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))

        await application(_scope(request, scheme), receive, send)
        fields = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in start["headers"])
        headers = tuple((name, value) for name, value in fields if name != "content-length")
        return Answer(start["status"], headers, b"".join(parts))

    return handle


def _scope(request: Request, scheme: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": scheme,
        "path": request.path,
        "raw_path": quote(request.path).encode(),
        "query_string": request.query.encode("latin-1", "replace"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()],
        "client": None,
        "server": None,
        "state": {},
    }

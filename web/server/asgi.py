"""A front door as an application of ASGI, for any other server."""

from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from web.server.front_door import FrontDoor

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class AsgiApp:
    """Serves a front door by ASGI 3."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request, or follows the life of the server."""
        if scope["type"] == "http":
            await self._exchange(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _follow(receive, send)

    async def _exchange(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        bodies = self._door.bodies

        async def read() -> bytes:
            return await bodies.read(_chunks(receive), bodies.announced(headers.get("content-length")))

        query = scope["query_string"].decode("latin-1")
        answer = await self._door.answer(scope["method"], scope["path"], query, headers, read if has_body else None)
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        fields.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """The parts of a body. Ends where the client has gone, too."""
    while (message := await receive())["type"] == "http.request":
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


async def _follow(receive: Receive, send: Send) -> None:
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})

"""The way of every request through a process, whatever serves it: its body, its handler, and its answer."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from infra.service.faults import describe
from web.http import Answer, Handler, Request, failure
from web.server.bodies import BodyReader, BodyRefused

CLOSE = ("connection", "close")
AGAIN = ("retry-after", "1")
_FAILED = failure(503, "", "the request could not be handled", (AGAIN,))


class RequestObserver(Protocol):
    """Is told of every answer."""

    def answered(self, path: str, status: int) -> None:
        """A request for this path got an answer with this status."""


class FrontDoor:
    """Gives requests to `handler`, and answers itself where there is nothing to give.

    It raises nothing but a cancellation. `clock_us` returns microseconds since 1970.
    """

    def __init__(
        self,
        handler: Handler,
        bodies: BodyReader,
        observer: RequestObserver,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.bodies = bodies
        self.in_flight = 0
        """How many requests have no answer yet."""
        self.drains = False
        """Whether each connection is to be closed after its next answer."""
        self._handler = handler
        self._observer = observer
        self._clock_us = clock_us
        self._log = structlog.get_logger("web.server.front_door")

    async def answer(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        read_body: Callable[[], Awaitable[bytes]] | None,
    ) -> Answer:
        """The answer to a request. `read_body` is None if it has no body."""
        received_us = self._clock_us()
        self.in_flight += 1
        try:
            body = b"" if read_body is None else await read_body()
            answer = await self._handler(Request(method, path, query, headers, body, received_us))
        except BodyRefused as refused:
            answer = _refusal(refused)
        except Exception as error:  # noqa: BLE001  # one request must not end the process
            self._log.error("request_failed", error=describe(error))
            answer = _FAILED
        finally:
            self.in_flight -= 1
        self._observer.answered(path, answer.status)
        return answer._replace(headers=(*answer.headers, CLOSE)) if self.drains else answer


def _refusal(refused: BodyRefused) -> Answer:
    return failure(refused.status, "body", refused.reason, (CLOSE, AGAIN) if refused.status == 429 else (CLOSE,))

"""The demo's backend: sends events and profiles by HTTP, in batches, as the SDKs of Segment do."""

import base64
import time
from collections.abc import Sequence
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Self

import orjson

from schemas.errors import UserError
from schemas.events import Event
from schemas.profiles import Profile

PATIENCE_S = 30.0
AGAIN = frozenset({429, 503})
"""Answers after which the same call is sent again: its items keep their ids, so nothing comes twice."""
REFUSED = {"type": "track", "event": "", "userId": "customer-00003", "messageId": "no-name"}
"""An item that the HTTP edge refuses, beside others that it takes."""


class NotTaken(UserError):
    """The HTTP edge refused what it should take."""


class HttpFeed:
    """A connection to the HTTP edge, with a write key. Each call waits for its answer."""

    def __init__(self, port: int, secret: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        key = base64.b64encode(f"{secret}:".encode()).decode()
        self._headers = {"Authorization": f"Basic {key}", "Content-Type": "application/json"}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def send(self, events: Sequence[Event]) -> None:
        """Returns when Kafka has all of them. Raises NotTaken."""
        self._take([track(event) for event in events])

    def identify(self, profiles: Sequence[Profile]) -> None:
        """Returns when the profile store has all of them. Raises NotTaken."""
        self._take([identify(profile) for profile in profiles])

    def refused(self, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Sends a batch as it is, again while a server is away. Returns what of it is refused. Raises NotTaken."""
        body, until_s = orjson.dumps({"batch": items}), time.monotonic() + PATIENCE_S
        while True:
            self._connection.request("POST", "/v1/batch", body, self._headers)
            answer = self._connection.getresponse()
            found = orjson.loads(answer.read())
            if answer.status == 200:
                return list(found.get("refused", []))
            wait_s = float(answer.headers.get("Retry-After", "1"))
            if answer.status not in AGAIN or time.monotonic() + wait_s > until_s:
                raise NotTaken(
                    f"POST /v1/batch was answered with {answer.status}: {found.get('message')}; "
                    "the log of the HTTP edge in .local/demo/logs says more"
                )
            time.sleep(wait_s)

    def _take(self, items: Sequence[dict[str, Any]]) -> None:
        refused = self.refused(items)
        if refused:
            raise NotTaken(f"POST /v1/batch refused {len(refused)} of {len(items)} items: {refused[0]}")


def track(event: Event) -> dict[str, Any]:
    """A call `track` that becomes this event."""
    return {
        "type": "track",
        "event": event.type,
        "userId": event.user_id,
        "messageId": event.id,
        "timestamp": event.time,
        "properties": event.properties,
    }


def identify(profile: Profile) -> dict[str, Any]:
    """A call `identify` that says what the profile says."""
    told = profile.model_dump(mode="json", exclude={"user_id", "address", "zone", "attributes"}, exclude_none=True)
    traits = {**profile.attributes, **told, "email": profile.address, "timezone": profile.zone}
    return {"type": "identify", "userId": profile.user_id, "traits": traits}

"""Unmodified SDKs and a plain client that send events to an edge at the same time, and what each was told."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import NamedTuple

from drivers.limits import HANGS_AFTER_S
from drivers.stock_sdks import Call, SdkReport, rudder_python, segment_node, segment_python
from drivers.web_edge import WebEdge

SDKS = (segment_python, rudder_python, segment_node)
USERS = 20
GIVES_UP_S = 10.0
"""As the SDK for Node does."""
PAUSE_S = 0.02
"""Between two calls of the plain client, and after one that failed."""


class Attempt(NamedTuple):
    """A call of the plain client. Status 0 is a connection that broke."""

    message_id: str
    status: int
    seconds: float
    retry_after: str


@dataclass
class IngestLoad:
    """What was sent, and what was said of it."""

    source: str
    sent: set[str] = field(default_factory=set)
    """The `messageId`s that SDKs were given."""
    attempts: list[Attempt] = field(default_factory=list)
    results: list[Future[SdkReport]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def statuses(self) -> Counter[int]:
        """What the plain client got so far."""
        return Counter(attempt.status for attempt in list(self.attempts))

    def reports(self) -> list[SdkReport]:
        """What the SDKs say in the end."""
        return [result.result(HANGS_AFTER_S) for result in self.results]

    def require_all_written(self, edge: WebEdge) -> int:
        """Fails unless each event that an SDK was given, and each that was answered 2xx, can be read, all records of
        an id alike, and one record of what was sent once. Returns how many records repeat an id: SDKs send again."""
        reports = self.reports()
        assert [report.failed for report in reports] == [[] for _ in reports]
        assert {each for report in reports for each in report.delivered} == self.sent
        records = defaultdict(list)
        for event in edge.events(self.source):
            records[event.id].append((event.user_id, event.type, event.properties))
        accepted = {each.message_id for each in self.attempts if 200 <= each.status < 300}
        tried = {each.message_id for each in self.attempts}
        written = {name.removeprefix(f"{self.source}#") for name in records}
        assert (self.sent | accepted) - written == set()
        assert written - self.sent - tried == set()
        assert all(each == same[0] for same in records.values() for each in same)
        assert [name for name in tried if len(records[f"{self.source}#{name}"]) > 1] == []
        return sum(map(len, records.values())) - len(records)


def _track(message_id: str, number: int) -> Call:
    fields = {"userId": f"user-{number % USERS}", "event": "Order Completed", "properties": {"n": number}}
    return ("track", {**fields, "messageId": message_id})


@contextmanager
def ingest_load(edge: WebEdge, source: str, key: str, calls: int, every_s: float) -> Iterator[IngestLoad]:
    """Each SDK makes so many calls, one every so often, and a plain client goes on until the block ends.

    The events are of `source`, whose key this is.
    """
    load = IngestLoad(source)
    with ThreadPoolExecutor(len(SDKS) + 1) as threads:
        for sdk in SDKS:
            given = [_track(f"{sdk.__name__}-{n}", n) for n in range(calls)]
            load.sent |= {fields["messageId"] for _, fields in given}
            load.results.append(threads.submit(_run, sdk, edge.host, key, given, every_s))
        plain = threads.submit(_send_plainly, edge, key, load)
        try:
            yield load
        finally:
            load.stopped.set()
            plain.result(HANGS_AFTER_S)


def _run(sdk: Callable[..., SdkReport], host: str, key: str, calls: list[Call], every_s: float) -> SdkReport:
    return sdk(host, key, calls, every_s)


def _send_plainly(edge: WebEdge, key: str, load: IngestLoad) -> None:
    while not load.stopped.is_set():
        name, number = f"plain-{len(load.attempts)}", len(load.attempts)
        _, fields = _track(name, number)
        began = time.monotonic()
        try:
            reply = edge.post("/v1/track", key, fields, GIVES_UP_S)
            status, after = reply.status, reply.headers.get("retry-after", "")
        except (OSError, HTTPException):
            status, after = 0, ""
        load.attempts.append(Attempt(name, status, time.monotonic() - began, after))
        time.sleep(PAUSE_S)

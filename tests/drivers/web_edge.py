"""The HTTP edge as the tests from outside run it: the command itself, its keys, and what came out on the topics."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from drivers.free_ports import free_port
from drivers.running_senders import have_topics, wait_until
from drivers.running_web import new_key
from drivers.shared_topics import readable_events
from drivers.supervised_workers import SupervisedWorkers

from infra.kafka.topic_reader import read_all
from infra.postgres.migrate import migrate
from schemas.codec import decode, is_in_own_partition
from schemas.events import Event
from schemas.profiles import Profile
from schemas.topics import PROFILES
from web.keys.write_key import KeyClass

LOST = {"crashed", "request_failed"}
"""Log lines that only a defect writes."""


class HttpReply(NamedTuple):
    """What a call got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class WebEdge:
    """`ebbtide run web` on a broker and a database, with as many workers as are asked for, and `ebbtide run profiles`
    beside it where profiles are to be published."""

    def __init__(self, kafka: str, database_url: str, directory: Path, **settings: str) -> None:
        self.kafka = kafka
        self._database_url = database_url
        self._since_ms = int(time.time() * 1000)
        self.port = free_port()
        self.host = f"http://127.0.0.1:{self.port}"
        self._variables = {
            "EBBTIDE_KAFKA": kafka,
            "EBBTIDE_DATABASE_URL": database_url,
            "EBBTIDE_LEDGER_URL": database_url,
            "EBBTIDE_HTTP_PORT": str(self.port),
            "EBBTIDE_HTTP_WEB_PORT": str(free_port(2)),
            "EBBTIDE_PUBLIC_URL": self.host,
            "EBBTIDE_LINK_KEYS": '["a key of the tests alone"]',
            "EBBTIDE_WEB_DIR": str(directory / "web"),
            "EBBTIDE_PROFILES_WEB_PORT": str(free_port()),
            "EBBTIDE_PROFILES_DIR": str(directory / "profiles"),
        } | {f"EBBTIDE_{name.upper()}": value for name, value in settings.items()}
        page_port = int(self._variables["EBBTIDE_HTTP_WEB_PORT"])
        self.workers = SupervisedWorkers("web", page_port, directory / "web.log", self._variables)
        page_port = int(self._variables["EBBTIDE_PROFILES_WEB_PORT"])
        self.publication = SupervisedWorkers("profiles", page_port, directory / "profiles.log", self._variables)

    def start(self, workers: int = 1) -> dict[int, int]:
        """Starts it; the process ids of the workers by slot, once all are ready."""
        self.workers.start("--workers", str(workers))
        return self.workers.wait_ready(*range(workers))

    def publish(self) -> dict[int, int]:
        """Starts what publishes profiles and events of visitors; its process id once it is ready."""
        self.publication.start()
        return self.publication.wait_ready(0)

    def new_key(self, source: str, key_class: KeyClass = KeyClass.SERVER, *origins: str) -> str:
        """The secret of a new write key. A worker that runs knows it on return; make it before there are two."""
        secret = new_key(self._database_url, key_class, *origins, source=source)

        def is_known() -> bool:
            return self.post("/v1/track", secret, {}).status != 401

        if self.workers.runs:
            wait_until(is_known, "the key counts")
        return secret

    def post(self, path: str, key: str, call: Any, timeout_s: float = 60.0, **headers: str) -> HttpReply:
        """A call on a connection of its own; `call` is bytes, or becomes JSON."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            body = call if isinstance(call, bytes) else orjson.dumps(call)
            basic = base64.b64encode(f"{key}:".encode()).decode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request("POST", path, body, {"Authorization": f"Basic {basic}", **named})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return HttpReply(answer.status, names, answer.read())
        finally:
            connection.close()

    # what came out

    def events(self, source: str) -> list[Event]:
        """The records on `events` from this source since this edge was made; fails if one is not at home in its
        partition."""
        partitions, found = have_topics(self.kafka), []
        for message, event in readable_events(self.kafka, self._since_ms):
            if event.source == source:
                assert is_in_own_partition(message.key(), event.user_id or "", message.partition() or 0, partitions)
                found.append(event)
        return found

    def profile(self, user: str) -> Profile | None:
        """The last profile of a user on `profiles` since this edge was made."""
        records = [each for each in read_all(self.kafka, PROFILES.name, self._since_ms) if each.key() == user.encode()]
        return decode(Profile, records[-1].value()) if records else None

    def defects(self) -> list[dict[str, Any]]:
        """The lines of the log that only a defect writes."""
        lines = self.workers.lines() + self.publication.lines()
        return [line for line in lines if line["event"] in LOST or "exception" in line or line["level"] == "critical"]


@contextmanager
def web_edge(kafka: str, database_url: str, directory: Path, **settings: str) -> Iterator[WebEdge]:
    """An edge on topics that are there, its database migrated; nothing runs yet. Always ended."""
    migrate(database_url)
    edge = WebEdge(kafka, database_url, directory, **settings)
    with edge.workers, edge.publication:
        yield edge

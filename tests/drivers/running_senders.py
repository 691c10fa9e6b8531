"""Delivery as the integration tests run it: its own process or a thread, its servers, and how to query them."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import Message as Mail
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from confluent_kafka import Consumer, Producer, TopicPartition
from drivers.asked_database import AskedDatabase
from drivers.command_line import Done, ebbtide
from drivers.free_ports import free_port
from drivers.limits import HANGS_AFTER_S
from drivers.real_servers import RealServers
from drivers.warm_interpreter import WarmProcess, WarmProgram
from drivers.warm_sinks import WarmSink
from pydantic import BaseModel

from infra.kafka.connection import Connection
from infra.kafka.progress import Progress
from infra.kafka.topic_reader import arrived
from infra.kafka.topic_setup import TopicDisagreement, ensure_topics
from schemas.codec import PARTITIONER, encode
from schemas.commands import SendCommand, command_id
from schemas.profiles import Consent, Profile
from schemas.rules import Text, text_hash, text_key
from schemas.topics import DEMO_PARTITIONS, PROFILES, RULES
from senders.app import run, user_partitions
from senders.content import dkim
from senders.settings import SenderSettings

T = TypeVar("T")
DOMAIN = "harbour.example"
SOURCE = "from senders.app import main; from senders.settings import SenderSettings; main(SenderSettings())"
PROGRAM = (sys.executable, "-c", SOURCE)
"""Delivery with the settings of the environment, in an interpreter of its own."""
WARM_PROGRAM = WarmProgram("senders.app", SOURCE)
"""The same, without the import."""
TEMPLATE = """---
subject: Hello {{ user.id }}
---
<p>{{ word }}</p>
--- text ---
{{ word }}
"""


def wait_until(condition: Callable[[], T], what: str, timeout_s: float = HANGS_AFTER_S) -> T:
    """The first true result of `condition`; fails if there is none in time."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)
    return answer


def have_topics(kafka: str) -> int:
    """Make the topics unless they are there; how many partitions the user-keyed ones have."""
    with suppress(TopicDisagreement):
        ensure_topics(kafka, DEMO_PARTITIONS)
    return user_partitions(Connection(kafka))


@cache
def dkim_pem() -> bytes:
    """The private key of every harbour: a new one takes a tenth of a second."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "dkim.pem"
        dkim.generate_key(file)
        return file.read_bytes()


class Harbour:
    """A database, a sink, a key and a template, and a delivery that uses them."""

    def __init__(self, kafka: str, database_url: str, directory: Path, **settings: Any) -> None:
        self.kafka = kafka
        self.database_url = database_url
        self.ledger_url: str = settings.get("ledger_url", database_url)
        self._ledger, self._hypertables = AskedDatabase(self.ledger_url), AskedDatabase(database_url)
        self.directory = directory
        self.sink = WarmSink(free_port(), directory / "sink")
        self.key_file = directory / "dkim.pem"
        self.key_file.write_bytes(dkim_pem())
        self.settings: dict[str, Any] = {
            "kafka": kafka,
            "database_url": database_url,
            "smtp_port": self.sink.port,
            "dkim_domain": DOMAIN,
            "dkim_key": self.key_file,
            "mail_from": f"Harbour <hello@{DOMAIN}>",
            "suppression_key": "a secret of the tests alone",
            "retry_first_s": 0.2,
            "retry_longest_s": 0.2,
            "session_timeout_ms": 2000,
            "lease_s": 3.0,
            "connections": 8,
            "senders_web_port": free_port(),
        } | settings
        self._producer = Producer({"bootstrap.servers": kafka, "partitioner": PARTITIONER, "linger.ms": 1})
        self._stop: Callable[[], None] = lambda: None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._process: subprocess.Popen[bytes] | WarmProcess | None = None

    # what is published

    def publish(self, topic: str, key: str | None, value: BaseModel | bytes | None, **where: int) -> None:
        """One record, on the topic before this returns."""
        self.publish_soon(topic, key, value, **where)
        self.flush()

    def publish_soon(self, topic: str, key: str | None, value: BaseModel | bytes | None, **where: int) -> None:
        """One record, on the topic before `flush` returns."""
        raw = encode(value) if isinstance(value, BaseModel) else value
        self._producer.produce(topic, raw, None if key is None else key.encode(), **where)  # type: ignore[arg-type]

    def flush(self) -> None:
        """Waits until all that was published is on its topic."""
        assert self._producer.flush(HANGS_AFTER_S) == 0

    def publish_template(self, body: str = TEMPLATE) -> str:
        """A template's hash, its text published."""
        digest = text_hash(body)
        self.publish(RULES.name, text_key(digest), Text(kind="template", path="templates/hello.liquid", body=body))
        return digest

    def publish_user(self, local_part: str = "ann", **changes: Any) -> str:
        """A new user who consented to marketing, by id. Their address is `local_part`+id at example.net."""
        user_id = f"user-{uuid.uuid4().hex[:12]}"
        consent = {"marketing": Consent(granted=True, time=datetime.now(UTC))}
        fields = {"address": f"{local_part}+{user_id}@example.net", "consent": consent} | changes
        self.publish(PROFILES.name, user_id, Profile(user_id=user_id, **fields))
        return user_id

    # delivery itself

    def start(self) -> None:
        """Run delivery in a thread of this process."""
        started = threading.Event()

        def work() -> None:
            try:
                asyncio.run(self._run(started))
            except BaseException as error:  # noqa: BLE001  # raised again by `stop`
                self._failure = error
                started.set()

        self._failure = None
        self._thread = threading.Thread(target=work, name="senders")
        self._thread.start()
        assert started.wait(HANGS_AFTER_S), "delivery did not start"

    async def _run(self, started: threading.Event) -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(stop.set)
        started.set()
        await run(SenderSettings(**self.settings), stop)

    def stop(self) -> float:
        """End the delivery of `start` in good order. Returns how long that took, in seconds; raises its error."""
        thread, self._thread = self._thread, None
        began = time.monotonic()
        if thread is not None:
            if thread.is_alive():
                self._stop()
            thread.join(HANGS_AFTER_S)
            assert not thread.is_alive(), "delivery did not stop"
            self._stop = lambda: None
            if self._failure is not None:
                raise self._failure
        return time.monotonic() - began

    @property
    def runs(self) -> bool:
        """Whether the delivery of `start` has not ended."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def variables(self) -> dict[str, str]:
        """The settings as the environment of another process."""
        settings = SenderSettings(**self.settings).model_dump(mode="json", exclude_none=True)
        settings |= {
            name: self.settings[name]
            for name in ("suppression_key", "erasure_key", "link_keys", "webhook_secrets")
            if name in self.settings
        }
        variables = {f"EBBTIDE_{name.upper()}": _as_variable(value) for name, value in settings.items()}
        return variables | {"EBBTIDE_SENDERS_DIR": str(self.directory / "workers")}

    def start_process(self, program: Sequence[str] | WarmProgram = WARM_PROGRAM, **others: str) -> None:
        """Run delivery in a process of its own; `others` are variables that replace those of the settings."""
        variables, file = os.environ | self.variables | others, self.directory / "senders.log"
        if isinstance(program, WarmProgram):
            self._process = program.run(variables, file)
            return
        with file.open("ab") as log:
            self._process = subprocess.Popen(program, env=variables, stdin=subprocess.DEVNULL, stderr=log)

    @property
    def process_runs(self) -> bool:
        """Whether the process of `start_process` has not ended."""
        return self._process is not None and self._process.poll() is None

    def end_process(self, how: signal.Signals) -> int:
        """End the process of `start_process`; returns its exit status."""
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(how)
        return process.wait(HANGS_AFTER_S)

    def close(self) -> None:
        """End all that was started."""
        if self._process is not None:
            self.end_process(signal.SIGKILL)
        try:
            self.stop()
        finally:
            self.sink.stop()
            self._producer.close()
            self._ledger.close()
            self._hypertables.close()

    # what became of it

    def command(self, *arguments: str) -> Done:
        """The command line, on the servers and with the key of this delivery."""
        return ebbtide(
            *arguments,
            EBBTIDE_KAFKA=self.kafka,
            EBBTIDE_DATABASE_URL=self.database_url,
            EBBTIDE_LEDGER_URL=self.ledger_url,
            EBBTIDE_SUPPRESSION_KEY=self.settings["suppression_key"],
        )

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database of the ledger answers."""
        return self._ledger.rows(query, values)

    def recorded(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database of the hypertables answers."""
        return self._hypertables.rows(query, values)

    def state(self, command: str) -> str | None:
        """The ledger's state of a command."""
        rows = self.rows("SELECT state FROM ledger WHERE command_id = %s", command)
        return str(rows[0][0]) if rows else None

    def wait_for(self, command: SendCommand, *states: str, timeout_s: float = HANGS_AFTER_S) -> str:
        """The state of a command once it is one of `states`."""
        return (
            wait_until(
                lambda: (state := self.state(command.id)) in states and state,
                f"command of {command.user_id} in state {' or '.join(states)}",
                timeout_s,
            )
            or ""
        )

    def mails(self, command: SendCommand) -> list[bytes]:
        """The mails that the sink took for a command."""
        return [mail.raw for mail in self.sink.messages() if parsed(mail.raw)["X-Ebbtide-Command"] == command.id]


def _as_variable(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def parsed(raw: bytes) -> Mail:
    """A mail as the standard library reads it."""
    return message_from_bytes(raw, policy=policy.SMTP)


def a_command(user_id: str, template_hash: str, **changes: Any) -> SendCommand:
    """A sendable command of its own occurrence."""
    now = datetime.now(UTC)
    occurrence = uuid.uuid4().hex
    fields: dict[str, Any] = {
        "id": command_id("hello", user_id, occurrence, "send"),
        "trigger": "hello",
        "rule_hash": "rule",
        "occurrence": occurrence,
        "step": "send",
        "user_id": user_id,
        "template": "hello",
        "template_hash": template_hash,
        "purpose": "marketing",
        "data": {"word": "harbour"},
        "decided_at": now,
        "expires_at": now + timedelta(hours=1),
    }
    return SendCommand(**(fields | changes))


class Tail:
    """Follows a topic from where it ends now."""

    def __init__(self, kafka: str, topic: str) -> None:
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": f"tail-{uuid.uuid4().hex}"})
        with Progress(kafka) as progress:
            ends = progress.ends(topic).high
        self._consumer.assign([TopicPartition(topic, number, end) for number, end in ends.items()])
        self.values: list[bytes] = []

    def read(self) -> list[bytes]:
        """Everything that came so far."""
        while found := arrived(self._consumer):
            self.values.extend(record.value() or b"" for record in found if record.error() is None)
        return self.values

    def close(self) -> None:
        """Let the topic go."""
        self._consumer.close()


def lasting_harbour(servers: RealServers, directory: Path, **settings: Any) -> Iterator[Harbour]:
    """A harbour with a database of its own, whose delivery runs; for all tests of a file."""
    have_topics(servers.kafka)
    database_url = servers.create_database()
    for made in harbour(servers.kafka, database_url, directory, **settings):
        made.start()
        yield made
    servers.drop_database(database_url)


def harbour(kafka: str, database_url: str, directory: Path, **settings: Any) -> Iterator[Harbour]:
    """A harbour whose sink runs; always stopped at the end."""
    made = Harbour(kafka, database_url, directory, **settings)
    made.sink.start()
    try:
        yield made
    finally:
        made.close()

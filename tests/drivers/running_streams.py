"""Stream workers under their supervisor as the tests run them: the command itself, on real Kafka, and what it did."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from drivers.running_senders import wait_until
from drivers.whole_pipeline import INPUTS, TEMPLATE, THANKS, new_topics, orders

from cli.manifests.publication import apply_folder
from cli.rules.rule_folder import Folder
from infra.kafka.progress import Progress
from infra.kafka.publisher import Publisher
from infra.kafka.topic_reader import read_all
from infra.service.processes import start_ticks
from schemas.codec import encode
from schemas.topics import COMMANDS, DECISIONS, EVENTS


class Streams:
    """Topics made anew, and `ebbtide run streams` on them."""

    def __init__(self, kafka: str, web_port: int, directory: Path) -> None:
        self.kafka = kafka
        self.web_port = web_port
        self.log = directory / "streams.log"
        self.data_dir = directory / "faust"
        self.group = f"streams-{uuid.uuid4().hex[:12]}"  # what an earlier one committed outlives its topics for a while
        self.published = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._variables = {
            **os.environ,
            "COLUMNS": "200",
            "TERM": "dumb",
            "EBBTIDE_KAFKA": kafka,
            "EBBTIDE_WEB_PORT": str(web_port),
            "EBBTIDE_DATA_DIR": str(self.data_dir),
            "EBBTIDE_STREAMS_GROUP": self.group,
        }
        new_topics(kafka)

    # what is published

    def apply_rules(self) -> None:
        """One rule: an order is thanked for, once."""
        apply_folder(self.kafka, Folder("test", [THANKS], {Path(TEMPLATE.path).stem: TEMPLATE}))

    def publish(self, count: int, per_s: float = 1e9, over: threading.Event | None = None) -> None:
        """So many orders of a hundred users, at a pace; fewer where it is over before that."""
        began_s = time.monotonic()
        users, sent = [f"user-{number % 100}" for number in range(count)], 0
        with Publisher(self.kafka) as publisher:
            for event in orders(users, datetime.now(UTC), f"order-{self.published}"):
                if over is not None and over.is_set():
                    break
                publisher.send(EVENTS.name, str(event.user_id).encode(), encode(event))
                time.sleep(max(0.0, began_s + sent / per_s - time.monotonic()))
                sent += 1
        self.published += sent

    def publishing(self, count: int, per_s: float, over: threading.Event | None = None) -> threading.Thread:
        """A thread that publishes them."""
        thread = threading.Thread(target=self.publish, args=(count, per_s, over))
        thread.start()
        return thread

    # the command

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`ebbtide run streams ARGUMENTS`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "run", "streams", *arguments],
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self._process

    @property
    def runs(self) -> bool:
        """Whether it does."""
        return self._process is not None

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Ends it; its exit status, and the seconds that took."""
        process, self._process = self._process, None
        assert process is not None
        began_s = time.monotonic()
        process.send_signal(how)
        return process.wait(30), time.monotonic() - began_s

    def close(self) -> None:
        """Ends what still runs."""
        if self._process is not None:
            self.stop(signal.SIGKILL)

    def cli(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same instance."""
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            env=self._variables | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    # what it says

    def get(self, slot: int, page: str) -> tuple[int, str] | None:
        """The answer of a worker's page; None where there is none."""
        connection = HTTPConnection("127.0.0.1", self.web_port + slot, timeout=5)
        try:
            connection.request("GET", page)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return None
        finally:
            connection.close()

    def ready(self, slot: int) -> dict[str, Any] | None:
        """What /ready says; None where the worker does not answer."""
        answer = self.get(slot, "/ready")
        return None if answer is None else json.loads(answer[1]) | {"status": answer[0]}

    def wait_ready(self, *slots: int) -> dict[int, int]:
        """Waits until these workers are ready; their process ids by slot."""

        def pids() -> dict[int, int]:
            found = {slot: self.ready(slot) or {} for slot in slots}
            return {slot: said["pid"] for slot, said in found.items()} if self._all_ready(found) else {}

        return wait_until(pids, f"workers {slots} are ready; the log ends with:\n{self.tail()}", 60)

    @staticmethod
    def _all_ready(found: dict[int, dict[str, Any]]) -> bool:
        return all(said.get("status") == 200 for said in found.values())

    def lines(self) -> list[dict[str, Any]]:
        """Every whole line of the log; fails where one is no JSON."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def tail(self) -> str:
        """How the log ends."""
        return "\n".join(self.log.read_text().splitlines()[-15:]) if self.log.exists() else ""

    # what it did

    def lag(self) -> int:
        """Records not yet committed."""
        with Progress(self.kafka) as progress:
            return progress.lag(self.group, INPUTS)

    def wait_drained(self) -> None:
        """Waits until all that was published is committed."""
        wait_until(lambda: self.lag() == 0, "all events are decided", 90)

    def decided(self) -> tuple[Counter[int], Counter[int]]:
        """How many commands and how many decisions there are once, twice, and so on."""
        return self._times(COMMANDS.name), self._times(DECISIONS.name)

    def _times(self, topic: str) -> Counter[int]:
        ids = Counter(json.loads(message.value() or b"")["id"] for message in read_all(self.kafka, topic))
        return Counter(ids.values())

    def each_once(self) -> tuple[Counter[int], Counter[int]]:
        """What `decided` is where nothing was lost and nothing done twice."""
        return Counter({1: self.published}), Counter({1: self.published})


def is_gone(pid: int) -> bool:
    """Whether the process has ended."""
    return start_ticks(pid) is None

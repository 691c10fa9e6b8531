"""Stream workers under their supervisor as the tests run them: the command itself, on real Kafka, and what it did."""

import json
import threading
import time
import uuid
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from drivers.running_senders import wait_until
from drivers.supervised_workers import SupervisedWorkers
from drivers.whole_pipeline import INPUTS, TEMPLATE, THANKS, new_topics, orders

from cli.manifests.publication import apply_folder
from cli.rules.rule_folder import Folder
from infra.kafka.progress import Progress
from infra.kafka.publisher import Publisher
from infra.kafka.topic_reader import read_all
from schemas.codec import encode
from schemas.topics import COMMANDS, DECISIONS, EVENTS


class Streams(SupervisedWorkers):
    """Topics made anew, and `ebbtide run streams` on them."""

    def __init__(self, kafka: str, web_port: int, directory: Path) -> None:
        self.kafka = kafka
        self.data_dir = directory / "faust"
        self.group = f"streams-{uuid.uuid4().hex[:12]}"  # what an earlier one committed outlives its topics for a while
        self.published = 0
        variables = {
            "EBBTIDE_KAFKA": kafka,
            "EBBTIDE_WEB_PORT": str(web_port),
            "EBBTIDE_DATA_DIR": str(self.data_dir),
            "EBBTIDE_STREAMS_GROUP": self.group,
        }
        super().__init__("streams", web_port, directory / "streams.log", variables)
        new_topics(kafka)

    # what is published

    def apply_rules(self) -> None:
        """One rule: an order is thanked for, once."""
        apply_folder(self.kafka, Folder("test", [THANKS], {Path(TEMPLATE.path).stem: TEMPLATE}))

    def publish(self, count: int, per_s: float = 1e9, over: threading.Event | None = None) -> None:
        """Publishes `count` orders of a hundred users, `per_s` a second, until `over` is set."""
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

    # what it did

    def lag(self) -> int:
        """Records not yet committed."""
        with Progress(self.kafka) as progress:
            return progress.lag(self.group, INPUTS)

    def wait_drained(self) -> None:
        """Waits until all that was published is committed."""
        wait_until(lambda: self.lag() == 0, "all events are decided")

    def decided(self) -> tuple[Counter[int], Counter[int]]:
        """How many commands and how many decisions there are once, twice, and so on."""
        return self._times(COMMANDS.name), self._times(DECISIONS.name)

    def _times(self, topic: str) -> Counter[int]:
        ids = Counter(json.loads(message.value() or b"")["id"] for message in read_all(self.kafka, topic))
        return Counter(ids.values())

    def each_once(self) -> tuple[Counter[int], Counter[int]]:
        """What `decided` is if nothing was lost and nothing done twice."""
        return Counter({1: self.published}), Counter({1: self.published})

"""The whole pipeline as the scenarios run it: real servers, real processes, its own topics and database."""

import os
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from drivers.command_line import Done
from drivers.free_ports import free_port
from drivers.limits import HANGS_AFTER_S
from drivers.running_senders import DOMAIN, Harbour, wait_until
from drivers.warm_interpreter import WarmProcess, run_warm

from cli.demo.books import Books, command_of, read_books
from cli.manifests.publication import apply_folder
from cli.rules.rule_folder import Folder
from infra.kafka.progress import Progress
from infra.kafka.publisher import Publisher
from infra.kafka.retry import retry
from infra.kafka.topic_setup import ensure_topics
from infra.postgres.migrate import migrate
from schemas.codec import encode
from schemas.events import Event
from schemas.profiles import Consent, Profile
from schemas.topics import BROADCASTS, COMMANDS, DECISIONS, EVENTS, OUTCOMES, PROFILES
from triggers.language.diagnostics import SourceFile

INPUTS = (EVENTS.name, PROFILES.name, OUTCOMES.name, BROADCASTS.name)
GROUPS = {
    "ebbtide-streams": INPUTS,
    "ebbtide-senders": (COMMANDS.name,),
    "ebbtide-recorder": (DECISIONS.name, OUTCOMES.name),
}
PARTITIONS = 8
COMMAND_LINE = "from cli.main import main; main()"
"""`ebbtide`, as the source of a process."""

THANKS = SourceFile(
    "thanks.yaml",
    """
trigger: thanks
purpose: transactional
on: order_completed
key: event.order_id
reentry: never
expires: 3d
send: {template: thanks, data: {order_id: event.order_id}}
""",
)
TEMPLATE = SourceFile(
    "templates/thanks.liquid",
    "---\nsubject: Order {{ order_id }}\n---\n<p>{{ order_id }}</p>\n--- text ---\n{{ order_id }}\n",
)


def new_topics(kafka: str) -> None:
    """Recreates every topic: the records and offsets of earlier scenarios are gone."""
    admin = AdminClient({"bootstrap.servers": kafka})
    old = [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]
    stand = [committed(kafka, group, topics) for group, topics in GROUPS.items()]  # a group still loading keeps them
    if old:
        for deleted in admin.delete_topics(old).values():
            deleted.result(30)
        wait_until(lambda: not set(old) & set(admin.list_topics(timeout=10).topics), "old topics are deleted")
        if any(stand):
            wait_until(lambda: not any(committed(kafka, *of) for of in GROUPS.items()), "old offsets are deleted")
    ensure_topics(kafka, PARTITIONS)


def committed(kafka: str, group: str, topics: Iterable[str]) -> bool:
    """Whether the group has offsets in these topics."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group})
    places = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
    try:
        return any(place.offset >= 0 for place in retry(lambda: consumer.committed(places, 10)))
    finally:
        consumer.close()


class Pipeline:
    """Streams and delivery as processes, a sink, and what to ask of them."""

    def __init__(self, harbour: Harbour) -> None:
        self.harbour = harbour
        self.kafka = harbour.kafka
        self.directory = harbour.directory
        self.began = datetime.now(UTC)
        self._streams: WarmProcess | None = None

    def apply(self, *files: SourceFile, template: SourceFile = TEMPLATE) -> None:
        """Publishes the files as the running set."""
        apply_folder(self.kafka, Folder("test", list(files), {Path(template.path).stem: template}))

    def publish_users(self, users: Iterable[str], address: str = "{user}@mail.example", **fields: Any) -> None:
        """A profile each, with consent to marketing."""
        consent = {"marketing": Consent(granted=True, time=self.began)}
        with Publisher(self.kafka) as publisher:
            for user in users:
                profile = Profile(user_id=user, address=address.format(user=user), consent=consent, **fields)
                publisher.send(PROFILES.name, user.encode(), encode(profile))

    def publish_events(self, events: Iterable[Event]) -> None:
        """The events, in their order."""
        with Publisher(self.kafka) as publisher:
            for event in events:
                publisher.send(EVENTS.name, str(event.user_id).encode(), encode(event))

    def lift_suppression(self, address: str) -> Done:
        """`ebbtide suppressions lift`, on this pipeline's servers."""
        return self.harbour.command("suppressions", "lift", address, "--reason", "a test", "--by", "ada")

    def start_streams(self) -> None:
        """The Faust worker in its own process."""
        variables = {
            "EBBTIDE_KAFKA": self.kafka,
            "EBBTIDE_WEB_PORT": str(free_port()),
            "EBBTIDE_DATA_DIR": str(self.directory / "faust"),
        }
        log, arguments = self.directory / "streams.log", ("run", "streams", "--slot", "0")
        self._streams = run_warm("streams.app", COMMAND_LINE, os.environ | variables, log, arguments)

    def end_streams(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the Faust worker; returns its exit status."""
        process, self._streams = self._streams, None
        assert process is not None
        process.send_signal(how)
        return process.wait(HANGS_AFTER_S)

    def close(self) -> None:
        """Ends what runs."""
        if self._streams is not None:
            self.end_streams(signal.SIGKILL)

    def mails(self) -> int:
        """How many mails the sink holds."""
        return sum(1 for _ in self.harbour.sink.messages())

    def mailed(self) -> Counter[str]:
        """How many mails the sink holds of each command."""
        return Counter(command_of(mail) for mail in self.harbour.sink.messages())

    def states(self) -> Counter[str]:
        """How many commands the ledger holds in each state."""
        return Counter(dict(self.harbour.rows("SELECT state, count(*) FROM ledger GROUP BY state")))

    def reasons(self) -> list[tuple[Any, ...]]:
        """How many commands the ledger holds by state and reason, for a failure's message."""
        return self.harbour.rows("SELECT state, reason, count(*) FROM ledger GROUP BY 1, 2 ORDER BY 3")

    def wait_drained(self, timeout_s: float = HANGS_AFTER_S) -> None:
        """Waits until every reader stands at the end and nothing waits in the ledger, twice in a row."""
        settled = 0
        with Progress(self.kafka) as progress:

            def lag() -> int:
                return sum(progress.lag(group, topics) for group, topics in GROUPS.items())

            def drained() -> bool:
                nonlocal settled
                unread, waiting = lag(), self.states()
                left = waiting["admitted"] + waiting["started"] + waiting["deferred"]
                [[unpublished]] = self.harbour.rows("SELECT count(*) FROM ledger_outbox")
                unrecorded = lag()  # asked last: what left the outbox meanwhile is there
                settled = settled + 1 if unread + left + unpublished + unrecorded == 0 else 0
                return settled >= 2

            wait_until(drained, "everything is drained", timeout_s)

    def books(self) -> Books:
        """Everything read back."""
        return read_books(self.kafka, self.harbour.database_url, self.directory / "sink", self.began)


@contextmanager
def pipeline(kafka: str, database_url: str, directory: Path, **settings: Any) -> Iterator[Pipeline]:
    """A separate pipeline, of which only the sink runs; always stopped at the end."""
    new_topics(kafka)
    migrate(database_url)
    harbour = Harbour(kafka, database_url, directory, **settings)
    made = Pipeline(harbour)
    harbour.sink.start()
    try:
        yield made
    finally:
        made.close()
        harbour.close()


def orders(users: Iterable[str], at: datetime, prefix: str = "order") -> Iterator[Event]:
    """One order a user."""
    for number, user in enumerate(users):
        order = f"{prefix}-{number}"
        yield Event(id=order, type="order_completed", user_id=user, time=at, properties={"order_id": order, "total": 9})


__all__ = ["DOMAIN", "PARTITIONS", "THANKS", "Pipeline", "orders", "pipeline"]

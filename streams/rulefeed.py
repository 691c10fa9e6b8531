"""The running rules: reads `rules` and `control` whole, and hands over each complete set as it becomes current.

A set that does not load never replaces the running one.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Message, TopicPartition

from schemas.codec import DecodeError, decode
from schemas.rules import CURRENT, Control, Manifest, Text
from schemas.topics import CONTROL, RULES
from streams.broker import Connection
from triggers.diagnostics import InvalidRules, SourceFile
from triggers.loader import load_rules
from triggers.ruleset import RuleSet

log = structlog.get_logger()

POLL_S = 0.25
"""How long a poll waits: also the longest time that a stop waits for this thread."""


@dataclass(frozen=True, slots=True)
class Published:
    """A set that loaded, with the switches in force."""

    rules: RuleSet
    manifest: int
    paused: frozenset[str]


@dataclass(slots=True)
class Shelf:
    """What has been read so far. Pure: fed with records, asked for the current set."""

    texts: dict[str, Text] = field(default_factory=dict)
    controls: dict[str, Control] = field(default_factory=dict)
    manifest: Manifest | None = None

    def put(self, topic: str, key: str, value: bytes | None) -> None:
        """Takes in one record; an older manifest or switch never replaces a newer one."""
        if topic == CONTROL.name:
            if value is None:
                self.controls.pop(key, None)
                return
            control = decode(Control, value)
            known = self.controls.get(key)
            if known is None or control.number >= known.number:
                self.controls[key] = control
        elif key == CURRENT:
            manifest = decode(Manifest, value)
            if self.manifest is None or manifest.number >= self.manifest.number:
                self.manifest = manifest
        elif value is None:
            self.texts.pop(key.removeprefix("text/"), None)
        else:
            self.texts[key.removeprefix("text/")] = decode(Text, value)

    def missing(self) -> list[str]:
        """Hashes that the manifest names and the log has not brought yet."""
        return [] if self.manifest is None else [h for h in self.manifest.texts if h not in self.texts]

    def paused(self) -> frozenset[str]:
        """The scopes that are switched off."""
        return frozenset(scope for scope, control in self.controls.items() if control.paused)

    def load(self) -> Published | None:
        """The current set, or None where none is complete; raises InvalidRules."""
        if self.manifest is None or self.missing():
            return None
        named = [(digest, self.texts[digest]) for digest in self.manifest.texts]
        templates = {PurePosixPath(t.path).stem: digest for digest, t in named if t.kind == "template"}
        files = [SourceFile(t.path, t.body) for _, t in named if t.kind == "rule"]
        return Published(load_rules(files, templates), self.manifest.number, self.paused())


class RuleFeed(threading.Thread):
    """Follows the two topics in a thread of its own and calls `publish` with each set that loads."""

    def __init__(self, connection: Connection, publish: Callable[[Published], None]) -> None:
        super().__init__(name="rule-feed", daemon=True)
        self._connection = connection
        self._publish = publish
        self._stopping = threading.Event()
        self._shelf = Shelf()
        self._ends_left = {RULES.name, CONTROL.name}
        self._changed = False

    def stop(self) -> None:
        """Ends the thread within a poll."""
        self._stopping.set()
        self.join(timeout=10 * POLL_S)

    def run(self) -> None:
        """Reads both topics from their beginning, then follows them."""
        consumer = Consumer(
            self._connection.client(
                group_id="ebbtide-rule-feed",  # required by the client; nothing is ever committed
                enable_auto_commit=False,
                enable_partition_eof=True,
                isolation_level="read_committed",
            )
        )
        consumer.assign([TopicPartition(t.name, 0, OFFSET_BEGINNING) for t in (RULES, CONTROL)])
        try:
            while not self._stopping.is_set():
                message = consumer.poll(POLL_S)
                if message is not None:
                    self._take(message)
                elif self._changed and not self._ends_left:
                    self._hand_over()
        finally:
            consumer.close()

    def _take(self, message: Message) -> None:
        topic = message.topic() or ""
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                self._ends_left.discard(topic)
                if self._changed and not self._ends_left:
                    self._hand_over()
            else:
                log.warning("rule_feed_waits", topic=topic, error=error.str())
            return
        key = (message.key() or b"").decode(errors="replace")
        try:
            self._shelf.put(topic, key, message.value())
        except DecodeError as problem:
            place = f"{topic}[{message.partition()}]@{message.offset()}"
            log.error("rule_record_ignored", place=place, key=key, problem=problem.detail)
            return
        self._changed = True

    def _hand_over(self) -> None:
        try:
            published = self._shelf.load()
        except InvalidRules as invalid:
            self._changed = False
            first = str(invalid.diagnostics[0])
            log.error("rules_refused", problems=len(invalid.diagnostics), first=first, running="unchanged")
            return
        if published is None:
            return
        self._changed = False
        self._publish(published)

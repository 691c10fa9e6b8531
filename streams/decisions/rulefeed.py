"""Reads the topics `rules` and `control` from the beginning, then follows them, and publishes each change.

Numbers rise over a whole topic. A record with an older number is rejected, also if the topic was recreated. A rule set
that does not load never replaces the current one, and switches continue to apply to that.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka
import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message
from confluent_kafka.admin import AdminClient

from infra.kafka.connection import Connection
from infra.kafka.offsets import EndOffsets
from infra.kafka.topics import TopicPartition
from schemas.codec import DecodeError, decode
from schemas.rules import CURRENT, Control, Manifest, SetFile, Text, brand_folder, template_name
from schemas.switches import OlderNumber, SwitchBoard
from schemas.topics import CONTROL, RULES
from streams.runtime.ending import end_process
from triggers.language.diagnostics import InvalidRules, SourceFile
from triggers.loader import load_rules, pinned_triggers
from triggers.outline import brand_folders
from triggers.rules.ruleset import RuleSet

log = structlog.get_logger()

POLL_S = 0.25
"""How long a poll waits, which is also the longest time that a stop waits for this thread."""
CHECK_INTERVAL_S = 3.0
"""The time between two checks of the topics' ends. A client that returned nothing in between although there is more is
replaced: after a broker's restart, confluent-kafka 2.16 was seen to fetch nothing any more, without an error. The guard
of `infra.kafka.stalls` acts after 15 s, which is too late for a switch that pauses."""


@dataclass(frozen=True, slots=True)
class PublishedRules:
    """A rule set that loaded, with the current switches. `control` is the highest number of all switches read."""

    rules: RuleSet
    manifest: int
    control: int
    paused: frozenset[str]


@dataclass(slots=True)
class RuleStore:
    """The records read so far. Pure: receives records and returns the current rules."""

    texts: dict[str, Text] = field(default_factory=dict)
    switches: SwitchBoard = field(default_factory=SwitchBoard)
    manifest: Manifest | None = None
    _tried: Manifest | None = None
    _loaded: tuple[RuleSet, int] | None = None

    def put(self, topic: str, key: str, value: bytes | None) -> None:
        """Adds one record; raises DecodeError or OlderNumber without changing anything."""
        if topic == CONTROL.name:
            self.switches.put(decode(Control, value))
        elif key == CURRENT:
            self._set(decode(Manifest, value))
        elif value is None:
            self.texts.pop(key.removeprefix("text/"), None)
        else:
            self.texts[key.removeprefix("text/")] = decode(Text, value)

    def _set(self, manifest: Manifest) -> None:
        known = self.manifest
        if known is not None and manifest != known and manifest.number <= known.number:
            raise OlderNumber(f"manifest {manifest.number} is not above {known.number}, which stays current")
        self.manifest = manifest

    def missing(self) -> list[str]:
        """The hashes in the manifest whose texts have not arrived yet."""
        return [] if self.manifest is None else [h for h in self.manifest.texts if h not in self.texts]

    def load(self) -> PublishedRules | None:
        """The current rules, or None before the first set.

        Raises InvalidRules once for a manifest that does not load. The next call returns the set before it.
        """
        if self.manifest is not None and self.manifest is not self._tried and not self.missing():
            self._tried = self.manifest
            self._loaded = load_manifest(self.manifest, self.texts), self.manifest.number
        if self._loaded is None:
            return None
        rules, number = self._loaded
        return PublishedRules(rules, number, self.switches.number, self.switches.paused())


def load_manifest(manifest: Manifest, texts: Mapping[str, Text]) -> RuleSet:
    """The rules of a manifest, with what running occurrences keep of replaced texts; raises InvalidRules."""
    named = [(file.text, file) for file in manifest_files(manifest, texts)]
    rules = [SourceFile(file.path, texts[digest].body) for digest, file in named if file.kind == "rule"]
    templates = {file.name: digest for digest, file in named if file.kind == "template"}
    replaced = sorted(manifest.pinned, key=lambda digest: manifest.pinned[digest])
    old = [(digest, texts[digest]) for digest in replaced if digest in texts]
    old_rules = [SourceFile(text.path, text.body) for _, text in old if text.kind == "rule"]
    old_templates = [(digest, text.path) for digest, text in old if text.kind == "template"]
    folders = brand_folders([*old_rules, *rules]) if old_templates else ()
    known = {template_name(path, brand_folder(path, folders)): digest for digest, path in old_templates}
    return load_rules(rules, templates, pinned_triggers(old_rules, known | templates, rules))


def manifest_files(manifest: Manifest, texts: Mapping[str, Text]) -> list[SetFile]:
    """The files of a manifest. For a manifest of an older program they are derived from the texts."""
    if manifest.files:
        return manifest.files
    since: dict[str, Any] = {"since": manifest.number, "at": manifest.applied_at, "by": manifest.applied_by}
    known = [(digest, texts[digest]) for digest in manifest.texts if digest in texts]
    return [SetFile(kind=text.kind, path=text.path, text=digest, **since) for digest, text in known]


class RuleFeed(threading.Thread):
    """Follows the two topics in its own thread and calls `publish` with each change.

    It waits for a broker that is away. If it cannot continue it calls `failed`, because a worker must not decide by
    rules and switches that are no longer updated.
    """

    def __init__(
        self,
        connection: Connection,
        publish: Callable[[PublishedRules], None],
        failed: Callable[[str], object] = end_process,
    ) -> None:
        super().__init__(name="rule-feed", daemon=True)
        self._connection = connection
        self._publish = publish
        self._failed = failed
        self._stopping = threading.Event()
        self._store = RuleStore()
        self._next = {RULES.name: 0, CONTROL.name: 0}
        """The next offset of each topic."""
        self._ends_left = {*self._next}
        self._changed = False
        self._waits_for = ""

    def stop(self) -> None:
        """Stops the thread, which ends after its current poll."""
        self._stopping.set()
        self.join(timeout=10 * POLL_S)

    def run(self) -> None:
        """Reads both topics from their beginning, then follows them."""
        try:
            self._follow()
        except Exception as error:
            if not self._stopping.is_set():
                log.exception("rule_feed_failed")
                self._failed(f"the rule feed ended ({error}); rules and switches would not change any more")

    def _follow(self) -> None:
        ends = EndOffsets(AdminClient(self._connection.client()))
        while not self._stopping.is_set():
            consumer = self._open()
            try:
                self._read(consumer, ends)
            finally:
                consumer.close()

    def _open(self) -> Consumer:
        """A client that continues at the next offsets."""
        settings = self._connection.client(
            group_id="ebbtide-rule-feed",  # required by the client; nothing is ever committed
            enable_auto_commit=False,
            enable_partition_eof=True,
            isolation_level="read_committed",
            auto_offset_reset="earliest",  # a recreated topic is read whole, and its numbers are checked
            fetch_wait_max_ms=100,
        )
        consumer = Consumer({**settings, "error_cb": self._wait})
        consumer.assign(
            [confluent_kafka.TopicPartition(topic, 0, at or OFFSET_BEGINNING) for topic, at in self._next.items()]
        )
        return consumer

    def _read(self, consumer: Consumer, ends: EndOffsets) -> None:
        """Reads until the feed stops, or the client returns nothing although there is more."""
        checked_s, behind = time.monotonic(), dict[str, int]()
        while not self._stopping.is_set():
            message = consumer.poll(POLL_S)
            if message is not None:
                self._take(message)
            if self._changed and not self._ends_left and (message is None or message.error() is not None):
                self._publish_change()
            if time.monotonic() - checked_s > CHECK_INTERVAL_S:
                before, behind = behind, self._behind(ends)
                if before.items() & behind.items():
                    log.warning("rule_feed_reopens", topics=sorted(behind))
                    return
                checked_s = time.monotonic()

    def _behind(self, ends: EndOffsets) -> dict[str, int]:
        """The next offset of each topic that has more records."""
        found = ends.last_stable(TopicPartition(topic, 0) for topic in self._next)
        return {tp.topic: self._next[tp.topic] for tp, end in found.items() if end > self._next[tp.topic]}

    def _take(self, message: Message) -> None:
        topic, error = message.topic() or "", message.error()
        if error is None:
            self._waits_for = ""
            self._next[topic] = (message.offset() or 0) + 1
            self._put(message, topic)
        elif error.code() == KafkaError._PARTITION_EOF:
            self._waits_for = ""
            self._next[topic] = message.offset() or 0  # behind control records too
            self._ends_left.discard(topic)
        else:
            self._wait(error)

    def _wait(self, error: KafkaError) -> None:
        if error.fatal():
            raise KafkaException(error)
        if error.str() != self._waits_for:
            self._waits_for = error.str()
            log.warning("rule_feed_waits", error=error.str())

    def _put(self, message: Message, topic: str) -> None:
        key = (message.key() or b"").decode(errors="replace")
        try:
            self._store.put(topic, key, message.value())
        except (DecodeError, OlderNumber) as problem:
            place = f"{topic}[{message.partition()}]@{message.offset()}"
            log.error("rule_record_ignored", place=place, key=key, problem=str(problem))
            return
        self._changed = True

    def _publish_change(self) -> None:
        self._changed = False
        try:
            published = self._store.load()
        except InvalidRules as invalid:
            first = str(invalid.diagnostics[0])
            log.error("rules_refused", problems=len(invalid.diagnostics), first=first, running="unchanged")
            published = self._store.load()
        if missing := self._store.missing():
            log.warning("rules_incomplete", missing=len(missing), first=missing[0], running="unchanged")
        if published is not None:
            self._publish(published)

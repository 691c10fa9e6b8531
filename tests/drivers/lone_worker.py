"""The trigger core in the runtime's steps, without a broker: one partition, driven run by run."""

from collections.abc import Mapping

from infra.kafka.connection import Connection
from schemas.topics import PROFILES
from streams.decisions.journal import CheckpointJournal
from streams.decisions.processor import DecisionProcessor
from streams.decisions.rulefeed import PublishedRules
from streams.faust.batches import BatchProcessor
from streams.faust.runtime import Runtime
from streams.faust.settings import RuntimeSettings
from streams.runtime.checkpoint import OffsetMetadata
from streams.runtime.clock import Batch
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules
from triggers.rules.ruleset import RuleSet


def rules(text: str) -> RuleSet:
    """The rules of one file; the template is `hello`."""
    return load_rules([SourceFile("rules.yaml", text)], {"hello": "a" * 32})


class LoneWorker:
    """A worker without servers, with one partition whose users exist already."""

    def __init__(self, mark: OffsetMetadata, text: str, states: Mapping[bytes, bytes]) -> None:
        self.runtime = Runtime(
            RuntimeSettings("test", "0", Connection("127.0.0.1:1"), (PROFILES.name,), 1), CheckpointJournal()
        )
        self.processor = DecisionProcessor(self.runtime, "UTC")
        self.batch_processor = BatchProcessor(self.processor, self.runtime.buffer)
        self.processor.adopt(PublishedRules(rules(text), 2, 0, frozenset()))
        [self.table] = self.runtime.tables()
        self.table.local.load(0, dict(states))
        self.runtime.buffer.begin(object(), {0: ({PROFILES.name: 3}, mark)}, {})
        self.batch_processor.loaded(0, mark)
        self.runs = 0

    def tick(self, clock_ms: int) -> None:
        """Moves the clock."""
        self.runs += 1
        self.batch_processor(Batch(0, self.runs, (), clock_ms))

    def states(self) -> dict[bytes, bytes]:
        """All users' states, collected as a checkpoint would."""
        self.table.changes()
        return dict(self.table.local.raw(0))

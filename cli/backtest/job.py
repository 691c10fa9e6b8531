"""What a backtest is to do: rules, files and limits. Every process gets the same."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import UserError
from triggers.cases.backtest import BacktestScope
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_to_try

BUCKETS = 256
"""The users of a long log are divided among so many files. 10 million events of 300 bytes are 12 MB each."""
PIECE_BYTES = 24 * 1024 * 1024
"""What a process sorts in memory at once; as Python objects that is two to five times as much."""


class BacktestProblem(UserError):
    """A backtest cannot be made as it was asked for; the message names the option."""


@dataclass(frozen=True, slots=True)
class RuleTexts:
    """The texts of a rule set, and the hash of each template that there is. No template needs to exist."""

    files: list[SourceFile]
    templates: dict[str, str]

    def evaluator(self, default_zone: str) -> Evaluator:
        """An evaluator of the rules; raises InvalidRules."""
        return Evaluator(load_to_try(self.files, self.templates), default_zone)


@dataclass(frozen=True, slots=True)
class BacktestJob:
    """One backtest. `sets` are the rules, or the old rules and the new ones, which are compared."""

    sets: tuple[RuleTexts, ...]
    events: Path
    profiles: Path | None = None
    outcomes: Path | None = None
    default_zone: str = "UTC"
    until_ms: int | None = None
    strict: bool = False
    user: str | None = None
    """Only this user is replayed."""
    write_decisions: bool = False
    piece_bytes: int = field(default=PIECE_BYTES)
    names: Mapping[Path, str] = field(default_factory=dict)
    """What messages call a file, if not by its path."""

    @property
    def scope(self) -> BacktestScope:
        """What the backtest is given beside the events."""
        return BacktestScope("event_time", self.default_zone, self.profiles is not None, self.outcomes is not None)

    def evaluators(self) -> list[Evaluator]:
        """An evaluator for each set of rules."""
        return [each.evaluator(self.default_zone) for each in self.sets]

"""A settled case of the language as data: rules, what happens to one user, and every decision that follows.

The engine and the slow model play each case. A decision reads `2026-01-05 10:00 t/a drop cap`: instant in UTC,
trigger and step, outcome, reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class SettledWorld(Protocol):
    """What a case needs of whoever plays it."""

    def until(self, moment: str) -> object: ...
    def event(self, moment: str, name: str, **more: Any) -> object: ...
    def profile(self, moment: str, **more: Any) -> object: ...
    def outcome(self, moment: str, kind: str, command: int) -> object: ...
    def edit(self, moment: str, rules: str) -> object: ...


@dataclass(frozen=True)
class SettledStep:
    """One call of a `SettledWorld`."""

    call: str
    arguments: tuple[Any, ...]
    more: Mapping[str, Any]


@dataclass(frozen=True)
class SettledCase:
    """A settled case, or one variant of it."""

    number: int
    title: str
    rules: str
    history: list[SettledStep]
    decisions: list[str]
    start: str = "2026-01-05 00:00"
    profile: Mapping[str, Any] = field(default_factory=dict)
    """Of the user at the start, where it differs from UTC and consent to marketing; `known: False` for none."""
    occurrences: list[str] | None = None
    """Of the decisions, where the case is about their names."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Some that the first decision stores."""

    def __str__(self) -> str:
        return f"{self.number} {self.title}"

    def play(self, world: SettledWorld) -> None:
        """Plays the history."""
        for step in self.history:
            getattr(world, step.call)(*step.arguments, **step.more)


def until(moment: str) -> SettledStep:
    """Time passes up to a moment, that included."""
    return SettledStep("until", (moment,), {})


def event(moment: str, name: str = "ping", **more: Any) -> SettledStep:
    """An event; `arrives` and `event_id` beside its properties."""
    return SettledStep("event", (moment, name), more)


def profile(moment: str, **more: Any) -> SettledStep:
    """A new profile, with consent to marketing unless `consent` says otherwise."""
    return SettledStep("profile", (moment,), more)


def outcome(moment: str, kind: str, command: int = 0) -> SettledStep:
    """An outcome of the command of this number."""
    return SettledStep("outcome", (moment, kind, command), {})


def edit(moment: str, rules: str) -> SettledStep:
    """Other rules from a moment on."""
    return SettledStep("edit", (moment, rules), {})

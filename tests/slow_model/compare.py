"""What must have been written against what was: as sets, by id, with every difference counted and the first shown."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from slow_model.timeline import ms

TIMES = ("decided_at", "expires_at", "next_eligible", "due")
ROUNDED = 1e-9
"""Scores are sums in another order here, so their last bits may differ."""

Fields = tuple[str, ...]
DECISION = (
    *("id", "trigger", "rule_hash", "user_id", "occurrence", "step", "outcome", "reason", "event_ids", "decided_at"),
    *("command_id", "gates", "inputs"),
)
COMMAND = (
    *("id", "trigger", "rule_hash", "occurrence", "step", "user_id", "channel", "to", "template", "template_hash"),
    *("variant", "brand", "purpose", "budgets", "data", "decided_at", "expires_at", "priority"),
)


@dataclass
class Comparison:
    """What was found wrong, by kind, and how much was compared."""

    wrong: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    first: dict[str, Any] = field(default_factory=dict)

    def note(self, kind: str, what: Any) -> None:
        self.wrong[kind] += 1
        self.first.setdefault(kind, what)

    def merge(self, other: "Comparison") -> None:
        self.wrong += other.wrong
        self.compared += other.compared
        for kind, what in other.first.items():
            self.first.setdefault(kind, what)

    @property
    def clean(self) -> bool:
        return not self.wrong


def compare(
    found: Comparison, what: str, wanted: Iterable[dict[str, Any]], written: Iterable[dict[str, Any]], fields: Fields
) -> None:
    """Records of one kind: each id as often as it must be, and the same in every one of `fields`."""
    ours, theirs = _by_id(wanted), _by_id(written)
    for name, mine in ours.items():
        got = theirs.get(name, [])
        for _ in range(len(mine) - len(got)):
            found.note(f"{what} lost", mine[0])
        for _ in range(len(got) - len(mine)):
            found.note(f"{what} twice", got[0])
        if len(got) == len(mine) and (differing := _differing(mine, got, fields)):
            found.note(f"{what} different", {"fields": differing, "wanted": mine[0], "written": got[0]})
    for name in theirs.keys() - ours.keys():
        for record in theirs[name]:
            found.note(f"{what} unexpected", record)
    found.compared[what] += sum(map(len, ours.values()))


def _by_id(records: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        found[record["id"]].append(record)
    return found


def _differing(mine: list[dict[str, Any]], got: list[dict[str, Any]], fields: Fields) -> list[str]:
    pairs = list(zip(mine, got, strict=True))
    return [name for name in fields if any(not _same(name, one.get(name), other.get(name)) for one, other in pairs)]


def _same(name: str, one: Any, other: Any) -> bool:
    if name == "gates":
        return same_gates(one, other)
    if name == "inputs":
        return all(_same(key, value, other.get(key)) for key, value in one.items())
    if name in TIMES and one is not None and other is not None:
        return ms(one) == ms(other)
    if isinstance(one, float) or isinstance(other, float):
        return _close(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        if "error" in one:  # the model knows that an expression fails, not in which words
            return other.keys() == {"error"}
        return one.keys() == other.keys() and all(_same(key, one[key], other[key]) for key in one)
    return bool((one or None) == (other or None))  # a default may be left out


def _close(one: Any, other: Any) -> bool:
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return False
    return abs(one - other) <= ROUNDED * max(1.0, abs(one), abs(other))


def same_gates(wanted: list[dict[str, Any]], written: list[dict[str, Any]]) -> bool:
    """Which gates were checked and passed, and what the slow model states about their stored values."""
    if [(w["gate"], w["passed"]) for w in wanted] != [(g["gate"], g["passed"]) for g in written]:
        return False
    return all(
        all(_same(key, one.get(key), other.get(key)) for key in {*one, *_GATE_FIELDS.get(one["gate"], ())})
        for one, other in zip(wanted, written, strict=True)
    )


_GATE_FIELDS = {"cap": ("observed", "limit", "next_eligible"), "quiet": ("next_eligible",)}


@dataclass(frozen=True)
class PlainCap:
    """The most that any version of a cap allows: of everything, or by trigger, purpose and brand."""

    max: int
    window_ms: int
    trigger: str | None = None
    purpose: str | None = None
    brand: str | None = None

    def counts(self, command: dict[str, Any]) -> bool:
        wanted = {"trigger": self.trigger, "purpose": self.purpose, "brand": self.brand}
        return all(value in (None, command.get(name)) for name, value in wanted.items())


def caps_exceeded(
    found: Comparison, commands: list[dict[str, Any]], given_back: set[str], caps: list[PlainCap]
) -> None:
    """Counts commands in every rolling window, without any model. Commands that were given back later do not count."""
    by_user: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for command in commands:
        if command["id"] not in given_back and command["purpose"] != "transactional":
            by_user[command["user_id"]].append(command)
    for sent in by_user.values():
        for cap in caps:
            times = sorted(datetime.fromisoformat(c["decided_at"]).timestamp() * 1000 for c in sent if cap.counts(c))
            for number in range(cap.max, len(times)):
                if round(times[number] - times[number - cap.max]) < cap.window_ms:
                    found.note("caps exceeded", {"cap": cap, "user_id": sent[0]["user_id"], "at": times[number]})
            found.compared["windows of caps"] += len(times)

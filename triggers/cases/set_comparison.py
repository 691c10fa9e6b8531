"""Compares two rule sets over the same history: what each would have sent, and to whom more or less.

Feed `SetComparison.user` with what each user got by the old and by the new set. Comparisons of different users can be
added, in any order with the same result.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from schemas.digests import digest
from schemas.vocabulary import DecisionOutcome
from triggers.cases.backtest_tally import BacktestTally
from triggers.cases.user_replay import ReplayedSend
from triggers.cel.runtime import as_time

SAMPLE = 5
"""Users to look at, for each kind of change. They are chosen by a digest of their id: the same in every run."""
MAX_SENDS = 50
"""Sends that are kept of a user in the sample, the first by time."""


class ChangeKind(StrEnum):
    """How what a user gets changes."""

    MORE = "more"
    FEWER = "fewer"
    OTHER = "other"
    """As many sends, but not the same, or not at the same instants."""
    SAME = "same"


@dataclass(frozen=True, slots=True, order=True)
class UserChange:
    """What one user would have got by each set."""

    digest: str
    user_id: str = field(compare=False)
    old: tuple[ReplayedSend, ...] = field(compare=False)
    new: tuple[ReplayedSend, ...] = field(compare=False)


@dataclass(slots=True)
class SetComparison:
    """Two rule sets over one history. `old` and `new` are their tallies, which the caller sets."""

    old: BacktestTally = field(default_factory=BacktestTally)
    new: BacktestTally = field(default_factory=BacktestTally)
    users: Counter[ChangeKind] = field(default_factory=Counter)
    """Users by how the number of their sends changes; those who get nothing by either set are left out."""
    users_of: Counter[tuple[str, ChangeKind]] = field(default_factory=Counter)
    """Users by rule, and by how their sends of it change; `SAME` is left out."""
    gained: int = 0
    """Users who get something, and got nothing by the old set."""
    lost: int = 0
    """Users who get nothing any more."""
    sample: dict[ChangeKind, list[UserChange]] = field(default_factory=dict)

    def user(self, user_id: str, old: Sequence[ReplayedSend], new: Sequence[ReplayedSend]) -> None:
        """Compares what one user gets."""
        if not old and not new:
            return
        kind = change_of(old, new)
        self.users[kind] += 1
        self.gained += not old
        self.lost += not new
        if kind is ChangeKind.SAME:
            return
        for trigger in sorted({sent.trigger for sent in (*old, *new)}):
            of_rule = change_of(_of(trigger, old), _of(trigger, new))
            if of_rule is not ChangeKind.SAME:
                self.users_of[trigger, of_rule] += 1
        change = UserChange(digest([user_id]), user_id, tuple(old[:MAX_SENDS]), tuple(new[:MAX_SENDS]))
        self._keep(kind, [change])

    def add(self, other: "SetComparison") -> None:
        """Adds the comparison of other users."""
        self.old.add(other.old)
        self.new.add(other.new)
        self.users.update(other.users)
        self.users_of.update(other.users_of)
        self.gained += other.gained
        self.lost += other.lost
        for kind, changes in other.sample.items():
            self._keep(kind, changes)

    def _keep(self, kind: ChangeKind, changes: Sequence[UserChange]) -> None:
        kept = self.sample.setdefault(kind, [])
        for each in changes:
            if len(kept) < SAMPLE or each < kept[-1]:
                insort(kept, each)
                del kept[SAMPLE:]

    def losses(self) -> Iterator[tuple[str, str, str, int, int]]:
        """Rule, outcome, reason, and how many decisions by the old and the new set were not sends."""
        for key in sorted(self.old.decisions.keys() | self.new.decisions.keys()):
            if key[1] not in (DecisionOutcome.SEND, DecisionOutcome.GOAL):
                yield (*key, self.old.decisions[key], self.new.decisions[key])

    def sends(self) -> Iterator[tuple[str, int, int]]:
        """Rule, and its sends by the old and the new set."""
        old, new = self.old.sends_by_trigger(), self.new.sends_by_trigger()
        rules = {trigger for tally in (self.old, self.new) for trigger, _, _ in tally.decisions}
        for trigger in sorted(rules):
            yield trigger, old[trigger], new[trigger]

    def summary(self) -> dict[str, Any]:
        """The figures for `--json`."""
        days = sorted({day for tally in (self.old, self.new) for _, day in tally.daily})
        return {
            "sends": [{"trigger": name, "old": old, "new": new} for name, old, new in self.sends()],
            "days": [
                {"day": as_time(day * 86_400_000).date().isoformat(), "trigger": name, "old": old, "new": new}
                for day in days
                for name, _, _ in self.sends()
                if (old := self.old.daily[name, day]) + (new := self.new.daily[name, day])
            ],
            "users_reached": {"old": self.old.reached, "new": self.new.reached},
            "users": {str(kind): self.users[kind] for kind in ChangeKind},
            "users_gained": self.gained,
            "users_lost": self.lost,
            "users_by_trigger": [
                {"trigger": name, **{str(kind): self.users_of[name, kind] for kind in ChangeKind if kind != "same"}}
                for name in sorted({name for name, _ in self.users_of})
            ],
            "losses": [
                {"trigger": name, "outcome": outcome, "reason": reason or None, "old": old, "new": new}
                for name, outcome, reason, old, new in self.losses()
            ],
            "sample": [
                {"change": str(kind), "user_id": each.user_id, "old": _as_json(each.old), "new": _as_json(each.new)}
                for kind in ChangeKind
                for each in self.sample.get(kind, ())
            ],
        }


def change_of(old: Sequence[ReplayedSend], new: Sequence[ReplayedSend]) -> ChangeKind:
    """How one list of sends changes into the other."""
    if len(new) != len(old):
        return ChangeKind.MORE if len(new) > len(old) else ChangeKind.FEWER
    return ChangeKind.SAME if list(old) == list(new) else ChangeKind.OTHER


def _of(trigger: str, sent: Sequence[ReplayedSend]) -> list[ReplayedSend]:
    return [each for each in sent if each.trigger == trigger]


def _as_json(sent: Sequence[ReplayedSend]) -> list[dict[str, str]]:
    return [{"at": as_time(each.at_ms).isoformat(), "trigger": each.trigger, "send": each.step} for each in sent]

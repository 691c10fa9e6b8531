"""The tally of a backtest: what rules would have done, counted. Tallies of different users can be added."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime
from zoneinfo import ZoneInfo

from schemas.vocabulary import DecisionOutcome, Reason
from triggers.engine.evaluation import DATE_PLACES, Effects, RuleProblem
from triggers.engine.records import DecisionRecord
from triggers.measures.local_time import iso_week
from triggers.measures.shapes import MS
from triggers.rules.state import Reservation

MAX_PROBLEMS = 100
MAX_ZONES = 1_000
"""Different invalid zones that are told apart."""


@dataclass(slots=True)
class BacktestTally:
    """What the rules would have done. Weeks are ISO weeks in UTC. Only the first problems are kept; all are counted."""

    users: int = 0
    """Users that were played: all who have an event or an outcome, and with schedules, dates or segments all who have a
    profile."""
    reached: int = 0
    """Users with at least one send."""
    reached_by: Counter[str] = field(default_factory=Counter)
    """Users with at least one send of a rule."""
    sends: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (trigger, week)."""
    daily: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Sends by trigger and day, counted from 1970-01-01 in UTC."""
    hours: Counter[int] = field(default_factory=Counter)
    """Sends by the hour of the week where the user is: 0 begins Monday at midnight, 167 is the last."""
    decisions: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By (trigger, outcome, reason; the reason may be empty)."""
    caps: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What full caps stopped or held, by trigger and cap."""
    pressure: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What full caps stopped or held, by its trigger and by each trigger among the last sends that the cap counted."""
    counts: Counter[str] = field(default_factory=Counter)
    """Events without a decision: stale, duplicate, clamped, late, reentry, without_user, …"""
    forgotten: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What rules forgot because of bounds on memory, by rule and bound."""
    problems: list[RuleProblem] = field(default_factory=list)
    unread: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Dates that could not be read, by (trigger, place, why)."""
    waiting: int = 0
    """Users with timers after the end."""
    without_profile: int = 0
    """Users that were played and never had a profile."""
    wrong_zones: Counter[str] = field(default_factory=Counter)
    """Users by the zone of their first profile, if that is none."""

    @property
    def sends_by_day(self) -> Counter[int]:
        """Sends by day, counted from 1970-01-01 in UTC."""
        found: Counter[int] = Counter()
        for (_, day), count in self.daily.items():
            found[day] += count
        return found

    def by_reason(self) -> Counter[str]:
        """Decisions by outcome and reason."""
        found: Counter[str] = Counter()
        for (_, outcome, reason), count in self.decisions.items():
            found[outcome if not reason else f"{outcome} {reason}"] += count
        return found

    def sends_by_trigger(self) -> Counter[str]:
        """Sends by trigger over the whole time."""
        found: Counter[str] = Counter()
        for (trigger, _), count in self.sends.items():
            found[trigger] += count
        return found

    def add(self, other: "BacktestTally") -> None:
        """Adds the tally of other users. Problems are kept in the order of the calls."""
        for each in fields(BacktestTally):
            mine, more = getattr(self, each.name), getattr(other, each.name)
            if isinstance(mine, Counter):
                mine.update(more)
            elif isinstance(mine, list):
                mine += more[: MAX_PROBLEMS - len(mine)]
            else:
                setattr(self, each.name, mine + more)

    def take(self, effects: Effects) -> None:
        """Counts what one call of the evaluator did, except its decisions."""
        for name, count in effects.counts.items():
            self.counts[name] += count
        if effects.bounds:
            self.forgotten.update(effects.bounds)
        if effects.problems:
            self._take_problems(effects.problems)

    def take_decision(self, record: DecisionRecord, zone: ZoneInfo) -> None:
        """Counts a decision about a user in a zone."""
        trigger, at_ms = record.trigger, record.at_ms
        self.decisions[trigger, str(record.outcome), str(record.reason or "")] += 1
        if record.outcome is DecisionOutcome.SEND:
            self.sends[trigger, iso_week(at_ms)] += 1
            self.daily[trigger, at_ms // MS["d"]] += 1
            self.hours[hour_of_week(at_ms, zone)] += 1
        elif record.reason is Reason.CAP:
            self.caps[trigger, _full_cap(record)] += 1

    def take_pressure(self, record: DecisionRecord, reservations: Iterable[Reservation]) -> None:
        """Counts which triggers' sends filled the cap that stopped or held this one."""
        counted = {*record.inputs.get("counted", ())}
        for trigger in {each.trigger for each in reservations if each.command_id in counted}:
            self.pressure[record.trigger, trigger] += 1

    def _take_problems(self, problems: list[RuleProblem]) -> None:
        self.counts["problems"] += len(problems)
        dates = (problem for problem in problems if problem.place in DATE_PLACES)
        self.unread.update((problem.trigger, problem.place, problem.detail) for problem in dates)
        self.problems += problems[: MAX_PROBLEMS - len(self.problems)]

    def take_wrong_zone(self, zone: str) -> None:
        """Counts a user whose profile has a zone that is none."""
        if zone in self.wrong_zones or len(self.wrong_zones) < MAX_ZONES:
            self.wrong_zones[zone] += 1


def hour_of_week(at_ms: int, zone: ZoneInfo) -> int:
    """The hour of the week on the clock of a zone: 0 is Monday from 00:00 to 01:00."""
    local = datetime.fromtimestamp(at_ms / 1000, zone)
    return local.weekday() * 24 + local.hour


def _full_cap(record: DecisionRecord) -> str:
    """The cap that was full, as `1 per 3d by trigger`; `error` if its maximum could not be computed."""
    limit = record.answers[-1].limit if record.answers else None
    return f"{limit['max']} per {limit['per']} by {limit['by']}" if isinstance(limit, dict) else "error"

"""One user's world on a virtual clock: what the tests of the pure core play in."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from drivers.both_paths import BothPaths

from schemas.decisions import Decision
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Consent, Profile
from schemas.vocabulary import DecisionOutcome, OutcomeKind
from schemas.zones import zone_named
from triggers.cel.runtime import as_ms, as_time
from triggers.engine.evaluation import Effects, OccurrenceExit, RuleProblem
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules, pinned_triggers
from triggers.rules.encoding import decode, encode
from triggers.rules.events import stored_event
from triggers.rules.ruleset import RuleSet

TEMPLATES = {name: name[0] * 32 for name in ("a", "b", "c", "d")}
DAY = 86_400_000
HOUR = 3_600_000
MINUTE = 60_000


def at(text: str) -> int:
    """`2026-03-29 01:00[:00.000]`, in UTC, as milliseconds."""
    return as_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def zone_of(name: str) -> ZoneInfo:
    """The zone of a name that is one."""
    zone = zone_named(name)
    assert zone is not None
    return zone


def shown(ms: int) -> str:
    """Milliseconds as `2026-03-29 01:00:00.000`, in UTC."""
    return as_time(ms).strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}"


def rules(text: str, *earlier: str) -> RuleSet:
    """The rules of one text, which replaced others that are still at hand; templates a, b, c and d exist."""
    pinned = pinned_triggers([SourceFile("rules.yaml", old) for old in earlier], TEMPLATES)
    return load_rules([SourceFile("rules.yaml", text)], TEMPLATES, pinned)


def event(name: str, ms: int, event_id: str, user_id: str | None = "u1", **properties: Any) -> Event:
    """An event of a user, or of none."""
    return Event(id=event_id, type=name, user_id=user_id, time=as_time(ms), properties=properties)


class World:
    """A user, an evaluator and a clock; everything decided is kept."""

    def __init__(
        self,
        rules_text: str,
        start: str = "2026-01-05 00:00",
        *,
        zone: str | None = "UTC",
        consent: tuple[str, ...] = ("marketing",),
        user_id: str = "u1",
        paused: frozenset[str] = frozenset(),
        default_zone: str = "UTC",
        known: bool = True,
        **attributes: Any,
    ) -> None:
        self.evaluator = Evaluator(rules(rules_text), default_zone, paused)
        self.state = decode(user_id, None)
        self.now = at(start)
        self.decisions: list[Decision] = []
        self.commands: list[Any] = []
        self.problems: list[RuleProblem] = []
        self.exits: list[OccurrenceExit] = []
        self.counts: dict[str, int] = {}
        self._events = 0
        self.paths = BothPaths()
        if known:
            self.profile(zone=zone, consent=consent, **attributes)

    def take(self, effects: Effects) -> Effects:
        self.decisions += effects.decisions
        self.commands += effects.commands
        self.problems += effects.problems
        self.exits += effects.exits
        for name, count in effects.counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
        return effects

    def until(self, moment: str | int) -> None:
        """Lets time pass: each timer fires at its instant, those at `moment` too."""
        end = at(moment) if isinstance(moment, str) else moment
        while (due := self.state.next_due()) is not None and due <= end:
            self.take(self.evaluator.fire_due(self.state, max(due, self.now)))
        self.now = max(self.now, end)

    def event(
        self, moment: str | int, name: str, *, arrives: str | int | None = None, event_id: str = "", **properties: Any
    ) -> Effects:
        """An event of an instant, which arrives then or later."""
        made = self._arriving(moment, name, arrives, event_id, self.state.user_id, properties)
        return self.take(self.paths.apply_event(self.evaluator, self.state, made, self.now))

    def broadcast(
        self, moment: str | int, name: str, *, arrives: str | int | None = None, event_id: str = "", **properties: Any
    ) -> Effects:
        """An event without a user."""
        made = self._arriving(moment, name, arrives, event_id, None, properties)
        return self.take(self.evaluator.apply_broadcast(self.state, stored_event(made), self.now) or Effects())

    def _arriving(
        self,
        moment: str | int,
        name: str,
        arrives: str | int | None,
        event_id: str,
        user_id: str | None,
        properties: dict[str, Any],
    ) -> Event:
        """An event of an instant; lets time pass until it arrives."""
        own = at(moment) if isinstance(moment, str) else moment
        arrival = own if arrives is None else at(arrives) if isinstance(arrives, str) else arrives
        self.until(arrival - 1)
        self.now = arrival
        self._events += 1
        return event(name, own, event_id or f"e{self._events}", user_id, **properties)

    def edit(self, moment: str, text: str, *earlier: str) -> None:
        """Other rules from an instant on, with the earlier texts that are still at hand."""
        self.until(at(moment) - 1)
        self.now = at(moment)
        self.evaluator.rules = rules(text, *earlier)
        effects = self.evaluator.plan(self.state, self.now)
        if effects is not None:
            self.take(effects)

    def profile(
        self,
        moment: str | None = None,
        *,
        zone: str | None = "UTC",
        consent: tuple[str, ...] = ("marketing",),
        address: str | None = "u1@example.org",
        paused_until: str | None = None,
        **attributes: Any,
    ) -> Effects:
        """A new profile."""
        if moment is not None:
            self.until(at(moment) - 1)
            self.now = at(moment)
        granted = Consent(granted=True, time=as_time(self.now))
        made = Profile(
            user_id=self.state.user_id,
            address=address,
            zone=zone,
            attributes=attributes,
            consent=dict.fromkeys(consent, granted),
            paused_until=None if paused_until is None else as_time(at(paused_until)),
        )
        return self.take(self.evaluator.apply_profile(self.state, made, self.now))

    def outcome(self, moment: str, kind: OutcomeKind, command_id: str, **more: Any) -> Effects:
        """An outcome of a command."""
        self.until(at(moment) - 1)
        self.now = at(moment)
        self._events += 1
        made = Outcome(
            id=f"o{self._events}",
            command_id=command_id,
            user_id=self.state.user_id,
            kind=kind,
            time=as_time(self.now),
            **more,
        )
        return self.take(self.evaluator.apply_outcome(self.state, made, self.now))

    def encoded(self) -> bytes:
        """The state as bytes."""
        return encode(self.state)[0]

    def score(self, name: str) -> float:
        """A score as of now."""
        curve = self.evaluator.rules.scores[name].curve
        return curve.read(self.state.scores[name], self.now)

    @property
    def sent(self) -> list[tuple[str, str, str]]:
        """What was sent: (instant to the second, trigger, step)."""
        return [
            (f"{d.decided_at:%Y-%m-%d %H:%M:%S}", d.trigger, d.step)
            for d in self.decisions
            if d.outcome is DecisionOutcome.SEND
        ]

    @property
    def decided(self) -> list[tuple[str, str]]:
        """Every decision: (instant to the second, `outcome` or `outcome reason`)."""
        return [
            (f"{d.decided_at:%Y-%m-%d %H:%M:%S}", f"{d.outcome} {d.reason}" if d.reason else d.outcome.value)
            for d in self.decisions
        ]

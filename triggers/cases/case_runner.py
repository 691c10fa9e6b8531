"""Runs cases, the examples written beside a rule, on a virtual clock. The command line prints the results."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from schemas.events import Event
from schemas.numbers import number_text
from schemas.profiles import Consent, Profile
from schemas.vocabulary import DecisionOutcome, Reason
from schemas.wording import quoted
from schemas.zones import UTC_ZONE, zone_named
from triggers.cases.case_start import start
from triggers.cases.forgotten import forgotten_notes
from triggers.cel.runtime import as_time
from triggers.engine.evaluation import DATE_PLACES, Effects, RuleProblem
from triggers.engine.evaluator import Evaluator
from triggers.engine.records import CommandFields
from triggers.language import keys
from triggers.language.case_time import At, parse_at, parse_start, show
from triggers.measures.local_time import instant
from triggers.measures.shapes import MAX_DURATION_MS
from triggers.rules.encoding import decode
from triggers.rules.events import stored_event
from triggers.rules.rule import Case, CaseExpectation, CaseInput, Experiment, Trigger
from triggers.rules.ruleset import RuleSet

_USER = "case-user"
_NO_ATTRIBUTES = frozenset(keys.names("USER"))
_MAX_TIMERS = 10_000


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that a case sent: when, as the case would write it, and the user's profile at that moment."""

    at: str
    step: str
    message: CommandFields
    profile: Profile


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The result of one case. `diff` is empty if it passed: `-` was expected, `+` happened, blank explains."""

    trigger: str
    name: str
    path: str
    line: int
    passed: bool
    diff: tuple[str, ...] = ()
    sent: tuple[Sent, ...] = ()
    """Its messages, which are good sample data for a template."""
    unread: tuple[str, ...] = ()
    """The dates that could not be read, each in words, even if the case passed."""


@dataclass(slots=True)
class _Happened:
    at_ms: int
    kind: str
    name: str
    saw: str = ""
    """The values that a false condition read."""
    of: str = ""
    """The other rule that it is about; empty for the case's own."""


@dataclass(slots=True)
class _Log:
    trigger: str
    """The case's own rule."""
    happened: list[_Happened] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    forgotten: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often a rule forgot something because of a bound on memory, as in `Effects.bounds`."""

    def take(self, effects: Effects, at_ms: int) -> None:
        for decision in effects.records:
            other = self._other(decision.trigger)
            if decision.outcome is DecisionOutcome.SEND:
                step = f"{other}/{decision.step}" if other else decision.step
                self.happened.append(_Happened(at_ms, "send", step))
            elif decision.reason is not None:
                kind = "defer" if decision.outcome is DecisionOutcome.DEFER else "drop"
                saw = _saw(decision.inputs) if decision.reason is Reason.CONDITION else ""
                self.happened.append(_Happened(at_ms, kind, decision.reason.value, saw, other))
        self.happened += [
            _Happened(at_ms, "exit", exited.event_type, of=self._other(exited.trigger)) for exited in effects.exits
        ]
        self.problems += [f"{problem.place}: {problem.detail}{_next_step(problem)}" for problem in effects.problems]
        self.forgotten.update(effects.bounds)
        dates = (problem for problem in effects.problems if problem.place in DATE_PLACES)
        self.unread += [f"{problem.place}: {problem.detail}" for problem in dates]

    def _other(self, trigger: str) -> str:
        return "" if trigger == self.trigger else trigger


def run_cases(rules: RuleSet, default_zone: str = "UTC") -> list[CaseResult]:
    """Runs every case of every trigger, in the order of the files."""
    return [run_case(rules, each, case, default_zone) for each in rules.declared.values() for case in each.cases]


def run_case(rules: RuleSet, trigger: Trigger, case: Case, default_zone: str = "UTC") -> CaseResult:
    """Runs one case: its rule and those that it names, live, with every definition, and only the policies it lists."""
    evaluator = Evaluator(_rules_of(rules, trigger, case), default_zone)
    run = _Run(evaluator, trigger, case, default_zone)
    diff = run.diff()
    unread = tuple(dict.fromkeys(run.log.unread))
    return CaseResult(trigger.name, case.name, trigger.path, case.line, not diff, tuple(diff), tuple(run.sent), unread)


def _rules_of(rules: RuleSet, trigger: Trigger, case: Case) -> RuleSet:
    """The rules, live. Nobody is in a holdout and the hash gives the variant, unless the case says otherwise."""
    held = (("case", 100.0),) if case.user.get("held_out") is True else ()
    experiment = trigger.experiment
    if experiment is not None and "variant" in case.user:
        experiment = Experiment(experiment.salt, ((str(case.user["variant"]), 1.0),))
    live = replace(trigger, mode="live", holdouts=held, experiment=experiment)
    policies = [replace(rules.policies[name], holdout_percent=0.0) for name in case.policies]
    others = [rules.declared[name] for name in dict.fromkeys(case.others) if name != trigger.name]
    return rules.holding([live, *(replace(other, mode="live", holdouts=()) for other in others)], policies)


def _saw(inputs: Mapping[str, Any]) -> str:
    """The scores, metrics and segments that a condition read."""
    kinds = {"score": "scores", "metric": "metrics", "segment": "segments"}
    read = {f"{root}.{name}": value for root, kind in kinds.items() for name, value in inputs.get(kind, {}).items()}
    return ", ".join(f"{name} was {_shown_value(value)}" for name, value in read.items())


def _shown_value(value: object) -> str:
    return number_text(value) if isinstance(value, float) else json.dumps(value)


def _next_step(problem: RuleProblem) -> str:
    return " (write it in the case, or ask has(…) first in the rule)" if problem.missing_field else ""


class _Run:
    """One case on its clock."""

    def __init__(self, evaluator: Evaluator, trigger: Trigger, case: Case, default_zone: str) -> None:
        self.evaluator = evaluator
        self.trigger = trigger
        self.case = case
        self.start: datetime = parse_start(case.start)
        self.zone: ZoneInfo = zone_named(str(case.user.get("zone") or default_zone)) or UTC_ZONE
        self.state = decode(_USER, None)
        self.user = dict(case.user)
        self.log = _Log(trigger.name)
        self.sent: list[Sent] = []
        self._play()

    def _at(self, at: At) -> int:
        return at.resolve(self.start, self.zone)

    def _play(self) -> None:
        begin = instant(self.zone, self.start)
        self.log.take(start(self.evaluator, self.state, self._profile(begin), self.user, begin), begin)
        lines = sorted(((self._at(parse_at(g.at)), n, g) for n, g in enumerate(self.case.given)), key=lambda x: x[:2])
        for at_ms, number, given in lines:
            self._fire(at_ms - 1)
            self._take(self._give(given, number, at_ms), at_ms)
        self._fire(self._end(lines[-1][0] if lines else begin))

    def _end(self, last: int) -> int | None:
        """When the case ends: None is when nothing is due any more.

        A segment that names `now` is evaluated at every midnight. Where `until` is not written, these end
        with the longest wait that the language has.
        """
        if self.case.until:
            return self._at(parse_at(self.case.until))
        for_ever = any("now" in segment.when.code.roots for segment in self.evaluator.rules.segments.values())
        return last + MAX_DURATION_MS if for_ever else None

    def _give(self, given: CaseInput, number: int, at_ms: int) -> Effects:
        if given.type is None:
            self.user |= given.values
            return self.evaluator.apply_profile(self.state, self._profile(at_ms), at_ms)
        user_id = None if given.without_user else _USER
        event = Event(
            id=f"case-{number + 1}",
            type=given.type,
            user_id=user_id,
            time=as_time(at_ms),
            properties=dict(given.values),
        )
        if given.without_user:
            return self.evaluator.apply_broadcast(self.state, stored_event(event), at_ms) or Effects()
        return self.evaluator.apply_event(self.state, event, at_ms)

    def _take(self, effects: Effects, at_ms: int) -> None:
        self.log.take(effects, at_ms)
        for decision in effects.records:
            if decision.command_fields is not None:
                at = show(at_ms, self.zone, self.start)
                self.sent.append(Sent(at, decision.step, decision.command_fields, self._profile(at_ms)))

    def _fire(self, until: int | None) -> None:
        for _ in range(_MAX_TIMERS):
            due = self.state.next_due()
            if due is None or (until is not None and due > until):
                return
            self._take(self.evaluator.fire_due(self.state, due), due)
        self.log.problems.append(f"more than {_MAX_TIMERS} timers fired; the case was stopped")

    def _profile(self, at_ms: int) -> Profile:
        purposes = self.user.get("consent", [each.consent for each in self.evaluator.rules.declared.values()])
        granted = Consent(granted=True, time=as_time(at_ms))
        return Profile(
            user_id=_USER,
            zone=cast(Any, self.user.get("zone")),
            locale=cast(Any, self.user.get("locale")),
            attributes={key: value for key, value in self.user.items() if key not in _NO_ATTRIBUTES},
            consent=dict.fromkeys(cast(list[str], purposes), granted),
        )

    # comparison ------------------------------------------------------------------------------------------------------

    def diff(self) -> list[str]:
        """What differs, in order of time, or nothing."""
        sends = [each for each in self.log.happened if each.kind == "send"]
        others = [each for each in self.log.happened if each.kind in ("drop", "exit") and not each.of]
        missing = [e for e in self.case.expect if not self._found(e, sends if e.kind == "send" else others)]
        if not missing and not sends:
            return []
        lines = [(self._at(parse_at(each.at)), f"- {each.at} {each.kind} {each.name}") for each in missing]
        lines += [(each.at_ms, f"+ {self._shown(each)}") for each in sends]
        lines += [(each.at_ms, f"  {self._shown(each)}") for each in self.log.happened if each.kind != "send"]
        happenings = [text for _, text in sorted(lines, key=lambda line: line[0])]
        problems = [f"  problem: {problem}" for problem in dict.fromkeys(self.log.problems)]
        notes = [*self._unheard(), *forgotten_notes(self.log.forgotten)]
        return happenings + problems + [f"  note: {note}" for note in notes]

    def _unheard(self) -> list[str]:
        """The given events that change nothing in this case, a likely reason for its failure."""
        given = dict.fromkeys((each.type, each.without_user) for each in self.case.given if each.type is not None)
        rules = self.evaluator.rules
        unheard = [
            f"{quoted(name)} without a user" if without_user else quoted(name)
            for name, without_user in given
            if name not in (rules.waiting if without_user else rules.routes)
        ]
        return [f"this rule, and what it asks for, does not listen to {', '.join(unheard)}"] if unheard else []

    def _found(self, expected: CaseExpectation, happened: list[_Happened]) -> bool:
        """Removes the first match of the expectation from the list; times count to the precision written."""
        at = parse_at(expected.at)
        wanted = self._at(at)
        for each in happened:
            same = (each.kind, each.name) == (expected.kind, expected.name)
            if same and each.at_ms - each.at_ms % at.precision_ms == wanted:
                happened.remove(each)
                return True
        return False

    def _shown(self, each: _Happened) -> str:
        shown = f"{show(each.at_ms, self.zone, self.start)} {each.kind} {each.name}"
        more = ", ".join(filter(None, (each.of and f"of {each.of}", each.saw)))
        return f"{shown} ({more})" if more else shown

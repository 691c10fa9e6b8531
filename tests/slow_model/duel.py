"""One history played twice: by the engine, and by the slow model; what each decided, as the same plain rows.

Timers fire at their own instants, each by its own account of when that is; or at looks a fixed time apart, as in a
worker that is behind.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson
from drivers.both_paths import BothPaths
from slow_model.documents import read_book
from slow_model.grammar import TEMPLATES
from slow_model.histories import HistoryItem
from slow_model.present import ExpectedWrites
from slow_model.rulebook import Book
from slow_model.timeline import BROADCAST, EDITED, REMOVED, UNREADABLE, Timeline, UserRecord, Versions, ms
from slow_model.user import SlowUser

from schemas.commands import SendCommand
from schemas.decisions import Decision
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from triggers.engine.evaluation import Effects
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules
from triggers.rules.encoding import decode, encode
from triggers.rules.events import stored_event
from triggers.rules.state import UserState

USER = "u1"
Row = tuple[Any, ...]
"""Trigger, occurrence, step, outcome, reason, decided_at, until, due, event ids."""


def _iso(at_ms: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).isoformat()


def _ms(instant: Any) -> int | None:
    return None if instant is None else ms(instant if isinstance(instant, str) else instant.isoformat())


@dataclass
class EngineHistory:
    """The engine over a history; `facts` is the engine's input, for the model."""

    evaluator: Evaluator
    every_ms: int | None
    between: Callable[[UserState], UserState] = lambda state: state
    state: UserState = field(default_factory=lambda: decode(USER, None))
    rows: list[Row] = field(default_factory=list)
    gates: list[list[dict[str, Any]]] = field(default_factory=list)
    """What each decision stores of its gates, as JSON."""
    commands: list[SendCommand] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    """Of each command."""
    facts: list[UserRecord] = field(default_factory=list)
    looks: list[int] = field(default_factory=list)
    now_ms: int = 0
    paths: BothPaths = field(default_factory=BothPaths)
    doubled: bool = False
    """Whether every event comes twice."""
    edited: Evaluator | None = None
    """The engine under the rules that a happening of the kind `edit` puts in force."""
    edited_ms: int | None = None
    """When that was."""
    after: timedelta = timedelta(days=9)
    """How long timers are still looked at after the last thing that happened."""

    def take(self, effects: Effects) -> None:
        for decision in effects.decisions:
            self.keep(decision)
        for record in effects.records:
            self.gates.append(orjson.loads(record.decision_json())["gates"])
        for command in effects.commands:
            self.commands.append(command)
            self.data.append(command.data)
        self.state = self.between(self.state)

    def keep(self, decision: Decision) -> None:
        """Keeps a decision as a row."""
        gate = next((g for g in decision.gates if not g.passed), None)
        until = gate.next_eligible if gate and decision.outcome == "defer" else None
        self.rows.append(
            (
                decision.trigger,
                decision.occurrence,
                decision.step,
                str(decision.outcome),
                None if decision.reason is None else str(decision.reason),
                _ms(decision.decided_at),
                _ms(until),
                _ms(decision.inputs.get("due")),
                tuple(decision.event_ids),
            )
        )

    def until(self, end_ms: int) -> None:
        """Lets time pass up to an instant, that included."""
        if self.every_ms is not None:
            steps = range(self.now_ms + self.every_ms, end_ms, self.every_ms) if self.now_ms else ()
            for at_ms in [*steps, end_ms]:
                self.looks.append(at_ms)
                if (due := self.state.next_due()) is not None and due <= at_ms:
                    self.take(self.evaluator.fire_due(self.state, at_ms))
        else:
            while (due := self.state.next_due()) is not None and due <= end_ms:
                self.now_ms = max(due, self.now_ms)
                self.take(self.evaluator.fire_due(self.state, self.now_ms))
        self.now_ms = end_ms

    def play(self, start: datetime, happenings: list[HistoryItem]) -> None:
        """Plays everything, and what is due in the time after."""
        for _ in self.playing(start, happenings):
            pass

    def playing(self, start: datetime, happenings: list[HistoryItem]) -> Iterator[HistoryItem]:
        """Plays one thing after another: each is given when it and all that was due before it has been decided."""
        now_ms = ms(start.isoformat())
        for number, each in enumerate(happenings):
            now_ms += each.gap_ms
            if now_ms > self.now_ms:
                self.until(now_ms - 1)
                self.now_ms = now_ms
            self.happen(each, number)
            if self.doubled and each.kind == "event":
                self.happen(each, number)
            yield each
        self.until(now_ms + int(self.after.total_seconds()) * 1000)
        yield happenings[-1]

    def happen(self, each: HistoryItem, number: int) -> None:
        now_ms = self.now_ms
        if each.kind == "event":
            body = {"id": f"e{each.number}-{number}", "type": each.name, "user_id": USER}
            body |= {"time": _iso(now_ms - each.age_ms), "properties": each.properties}
            self.tell("events", body)
            event = Event.model_validate(body)
            self.take(self.paths.apply_event(self.evaluator, self.state, event, now_ms))
        elif each.kind == BROADCAST:
            body = {"id": f"b{each.number}", "type": each.name, "user_id": None}
            body |= {"time": _iso(now_ms - each.age_ms), "properties": each.properties}
            self.tell(BROADCAST, body)
            event = stored_event(Event.model_validate(body))
            self.take(self.evaluator.apply_broadcast(self.state, event, now_ms) or Effects())
        elif each.kind == "profile":
            body = _profile(each.properties, now_ms)
            self.tell("profiles", body)
            self.take(self.evaluator.apply_profile(self.state, Profile.model_validate(body), now_ms))
        elif each.kind == "unreadable":
            refused = dict.fromkeys(each.properties["refused"], now_ms - each.age_ms)
            self.tell(UNREADABLE, refused)
            self.take(self.evaluator.withdraw_consent(self.state, refused, now_ms))
        elif each.kind == "removed":
            self.tell(REMOVED, {})
            self.state = decode(USER, None)
        elif each.kind == "edit" and self.edited is not None:
            self.evaluator, self.edited_ms = self.edited, now_ms
            self.tell(EDITED, {})
            if (effects := self.evaluator.plan(self.state, now_ms)) is not None:
                self.take(effects)
        elif each.number < len(self.commands):
            command = self.commands[-1 - each.number]
            body = {"id": f"o{number}", "command_id": command.id, "user_id": USER}
            body |= {"kind": each.name, "time": _iso(now_ms)}
            if command.channel == "webhook":
                body |= {"channel": "webhook", "trigger": command.trigger, "step": command.step}
            body |= {"hard": each.properties.get("hard", False)} if each.name in ("refused", "bounced") else {}
            self.tell("outcomes", body)
            self.take(self.evaluator.apply_outcome(self.state, Outcome.model_validate(body), now_ms))

    def tell(self, topic: str, body: dict[str, Any]) -> None:
        self.looks.append(-1)
        self.facts.append(UserRecord(len(self.looks), self.now_ms, self.versions(self.now_ms), topic, body))

    def versions(self, at_ms: int) -> Versions:
        """Which rules were in force at an instant."""
        return Versions(1 if self.edited_ms is None or at_ms < self.edited_ms else 2, 0)


def _profile(properties: dict[str, Any], now_ms: int) -> dict[str, Any]:
    values = ("zone", "consent", "address", "paused_ms")
    attributes = {name: value for name, value in properties.items() if name not in values}
    consent = {name: {"granted": True, "time": _iso(now_ms)} for name in properties["consent"]}
    who = {"user_id": USER, "zone": properties["zone"], "address": properties.get("address")}
    paused_ms = properties.get("paused_ms")
    pause = {} if paused_ms is None else {"paused_until": _iso(now_ms + paused_ms)}
    return who | pause | {"attributes": attributes, "consent": consent}


class PlayedHistory(Protocol):
    """What `EveryInstant` reads."""

    facts: list[UserRecord]
    now_ms: int

    def versions(self, at_ms: int) -> Versions: ...


class EveryInstant(Timeline):
    """A timeline that is looked at whenever something is due: at its own instant, or at once if that is past."""

    def __init__(self, run: PlayedHistory) -> None:
        super().__init__()
        self.run, self.end_ms = run, run.now_ms
        self.facts[USER] = run.facts

    def horizon_ms(self, user_id: str) -> int:  # noqa: ARG002 - there is one
        return self.end_ms

    def next_look(self, after_position: int, due_ms: int) -> int | None:
        following = [fact for fact in self.facts[USER] if fact.position > after_position]
        before = [fact.now_ms for fact in self.facts[USER] if fact.position <= after_position]
        at_ms = max([due_ms, *before[-1:], *(look.now_ms for look in self.looks[-1:])])
        if at_ms > (following[0].now_ms - 1 if following else self.end_ms):
            return None
        self.look(after_position, at_ms, self.run.versions(at_ms))
        return len(self.looks) - 1


def model_rows(run: EngineHistory, *books: Book) -> list[Row]:
    """What the slow model decides about the engine's input, under the same rules."""
    return rows_of(model_decisions(run, *books))


def model_decisions(run: EngineHistory, *books: Book) -> list[dict[str, Any]]:
    """The decisions of the slow model on the history that the engine played, under the same rules."""
    return model_writes(run, *books).decisions


def model_writes(run: EngineHistory, *books: Book) -> ExpectedWrites:
    """What the slow model writes on the history that the engine played, under the same rules."""
    timeline = EveryInstant(run) if run.every_ms is None else _looked_at(run)
    books = tuple(replace(book, earlier=books[:number]) for number, book in enumerate(books))
    return SlowUser(USER, timeline, lambda versions: (books[versions.manifest - 1], frozenset())).decide()


def rows_of(decisions: list[dict[str, Any]]) -> list[Row]:
    """The slow model's decisions as rows."""
    return [
        (
            *(decision[name] for name in ("trigger", "occurrence", "step", "outcome", "reason")),
            _ms(decision["decided_at"]),
            _ms(decision["until"]),
            _ms(decision["inputs"].get("due")),
            tuple(decision["event_ids"]),
        )
        for decision in decisions
    ]


def _looked_at(run: EngineHistory) -> Timeline:
    """When the engine looked at its timers."""
    timeline = Timeline()
    timeline.facts[USER] = run.facts
    for position, at_ms in enumerate(run.looks, start=1):
        if at_ms >= 0:
            timeline.look(position, at_ms, run.versions(at_ms))
    return timeline


def edited_evaluator(before: str, after: str) -> Evaluator:
    """The engine under an edited text, with what it keeps of the text before."""
    loader = importlib.import_module("triggers.loader")
    pinned = loader.pinned_triggers([SourceFile("r.yaml", before)], TEMPLATES)
    return Evaluator(loader.load_rules([SourceFile("r.yaml", after)], TEMPLATES, pinned))


def evaluator_of(text: str) -> Evaluator:
    """The engine under the rules of a text."""
    return Evaluator(load_rules([SourceFile("r.yaml", text)], TEMPLATES))


def book_of(text: str) -> Book:
    """The model's rules of a text."""
    templates = [(digest, {"kind": "template", "path": f"{name}.liquid"}) for name, digest in TEMPLATES.items()]
    return read_book([(text, {"kind": "rule", "path": "r.yaml", "body": text}), *templates])


def recoded(state: UserState) -> UserState:
    """The state as it comes back from its bytes."""
    return decode(USER, encode(state)[0])

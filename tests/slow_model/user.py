"""One user's decisions, computed slowly: the facts in their order, each question answered from the whole past.

An event first feeds scores and counts, then ends what `unless` ends, then begins what `on` begins. What begins is
decided at once when due; what waits is decided at the first look at the timers that comes at its instant or later.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from slow_model import sends
from slow_model.expressions import Failed, asks_more_than_the_event, holds, value
from slow_model.past import NEVER_ACCEPTED, Past, Points, Seen, Sent, count_in, faded, instant
from slow_model.rulebook import Book, Level, Pattern, Rule, Send
from slow_model.timeline import Fact, Timeline, Versions, ms

AHEAD_MS = 5 * 60_000
Books = Callable[[Versions], tuple[Book, frozenset[str]]]
"""The rules, and the scopes that are paused, of given versions."""


@dataclass
class Occurrence:
    """A trigger that runs. `due_ms` is when its step is due, `wake_ms` when to look: later where it is held."""

    trigger: str
    id: str
    key: Any
    key_text: str | None
    began: str
    event: Seen
    entered_ms: int
    due_ms: int
    wake_ms: int
    step: int = 0


@dataclass
class Standing:
    """Where a level stands: armed, and, falling, when it will cross."""

    armed: bool
    due_ms: int | None = None
    too_old_ms: int | None = None


@dataclass
class Written:
    """What must have been written about one user."""

    decisions: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    next_due_ms: int | None = None


class SlowUser:
    """One user. `decide` plays everything."""

    def __init__(self, user_id: str, timeline: Timeline, books: Books) -> None:
        self.user_id, self.timeline, self.books = user_id, timeline, books
        self.past = Past()
        self.running: list[Occurrence] = []
        self.levels: dict[str, Standing] = {}
        self.written = Written()
        self.position = self.now_ms = 0
        self.book = Book({}, {})
        self.paused: frozenset[str] = frozenset()

    def decide(self) -> Written:
        """All decisions and commands up to the last look."""
        for fact in self.timeline.facts[self.user_id]:
            self.look_until(fact.position)
            self.at(fact.position, fact.now_ms, fact.versions)
            self.apply(fact)
        self.look_until(None)
        self.written.next_due_ms = self.next_due()
        return self.written

    def at(self, position: int, now_ms: int, versions: Versions) -> None:
        self.position, self.now_ms = position, now_ms
        self.book, self.paused = self.books(versions)

    # time ------------------------------------------------------------------------------------------------------------

    def next_due(self) -> int | None:
        due = [occurrence.wake_ms for occurrence in self.running]
        due += [standing.due_ms for standing in self.levels.values() if standing.due_ms is not None]
        return min(due, default=None)

    def look_until(self, position: int | None) -> None:
        """Every look at the timers before a position that finds something due."""
        while (due_ms := self.next_due()) is not None:
            number = self.timeline.next_look(self.position, due_ms)
            if number is None or (position is not None and self.timeline.look_positions[number] >= position):
                return
            look = self.timeline.looks[number]
            self.at(self.timeline.look_positions[number], look.now_ms, look.versions)
            self.fire(look.now_ms)

    def fire(self, until_ms: int, feeding: tuple[frozenset[str], int] = (frozenset(), 0)) -> None:
        """What is due by an instant: by time, crossings first, then by priority, trigger, occurrence.

        `feeding` names levels that the coming event feeds, and its own time: those cross only where they did before.
        """
        while True:
            due = [occurrence for occurrence in self.running if occurrence.wake_ms <= until_ms]
            first = min(due, key=self.order, default=None)
            crossings = [
                (standing.due_ms, name)
                for name, standing in self.levels.items()
                if standing.due_ms is not None
                and standing.due_ms <= until_ms
                and not (name in feeding[0] and standing.due_ms >= feeding[1])
            ]
            if crossings and (first is None or min(crossings)[0] <= first.wake_ms):
                self.cross(min(crossings)[1])
            elif first is not None:
                self.advance(first)
            else:
                return

    def order(self, occurrence: Occurrence) -> tuple[int, int, str, str]:
        rule = self.book.rules.get(occurrence.trigger)
        return occurrence.wake_ms, -rule.priority if rule else 0, occurrence.trigger, occurrence.id

    # facts -----------------------------------------------------------------------------------------------------------

    def apply(self, fact: Fact) -> None:
        if fact.topic == "profiles":
            self.profile(fact.body)
        elif fact.topic == "outcomes":
            self.outcome(fact.body)
        else:
            body = fact.body
            self.event(
                Seen(body["id"], body["type"], ms(body["time"]), body.get("source", ""), body.get("properties", {}))
            )

    def profile(self, body: dict[str, Any]) -> None:
        self.fire(self.now_ms - 1)
        moved = body.get("zone") != self.past.zone()
        self.past.words.append(("profile", body))
        if moved:
            held = [occurrence for occurrence in self.running if occurrence.wake_ms > occurrence.due_ms]
            for occurrence in held:
                occurrence.wake_ms = min(occurrence.wake_ms, self.now_ms)
            self.run_now(held)

    def outcome(self, body: dict[str, Any]) -> None:
        kind, command_id = body["kind"], body["command_id"]
        sent = self.past.sent_as(command_id)
        properties: dict[str, Any] = {"machine": body.get("machine", "unknown")}
        if sent is not None:
            properties |= {"trigger": sent.trigger, "step": sent.step, "occurrence": sent.occurrence}
        if body.get("url") is not None:
            properties["url"] = body["url"]
        seen = Seen(body["id"], f"email.{kind}", ms(body["time"]), body.get("provider", ""), properties)
        if not self.event(seen):
            return
        reply = body.get("reply") or {}
        permanent = reply.get("code", 0) >= 500 or (reply.get("enhanced") or "").startswith("5.")
        if kind in NEVER_ACCEPTED:
            self.past.given_back[command_id] = len(self.past.sent)
        elif kind == "complained" or (kind == "bounced" and permanent):
            self.past.words.append(("suppress", None))
        elif kind == "unsubscribed" and sent is not None:
            self.past.words.append(("unsubscribed", (sent.purpose, seen.time_ms)))

    def event(self, event: Seen) -> bool:
        """What the event does; false where it is a repeated one."""
        if not event.type.startswith("email.") and not self.concerns(event):
            return True  # what concerns no rule and no score changes nothing, and its id is not remembered
        if self.past.is_repeated(event.id, self.now_ms):
            return False
        if event.time_ms > self.now_ms + AHEAD_MS:
            event = event._replace(time_ms=self.now_ms)
        self.fire(self.now_ms - 1, (self.fed_by(event.type), event.time_ms))
        begun = self.feed(event)
        self.end_what_it_ends(event)
        self.past.events.append(event)
        for rule in sorted(self.book.rules.values(), key=lambda rule: (-rule.priority, rule.name)):
            if any(self.matches(pattern, event) for pattern in rule.patterns):
                begun.append(self.begin(rule, event, event.time_ms))
        self.run_now([occurrence for occurrence in begun if occurrence is not None])
        return True

    def concerns(self, event: Seen) -> bool:
        """Whether a pattern takes the event, as far as it asks the event alone; one that asks more may take any."""
        if event.time_ms > self.now_ms + AHEAD_MS:
            return event.type in self.book.patterns
        for pattern in self.book.patterns.get(event.type, ()):
            try:
                if asks_more_than_the_event(pattern.where) or holds(pattern.where, self.roots(event)):
                    return True
            except Failed:
                return True
        return False

    def run_now(self, occurrences: list[Occurrence]) -> None:
        """Goes on with these as far as they are due."""
        while True:
            due = [o for o in occurrences if o.wake_ms <= self.now_ms and any(o is each for each in self.running)]
            if not due:
                return
            self.advance(min(due, key=self.order))

    # levels ----------------------------------------------------------------------------------------------------------

    def level_rules(self) -> list[tuple[Rule, Level]]:
        rules = sorted(self.book.rules.values(), key=lambda rule: (-rule.priority, rule.name))
        return [(rule, level) for rule in rules for level in rule.levels]

    def fed_by(self, event_type: str) -> frozenset[str]:
        scores = {s.name for s in self.book.scores.values() for p, _ in s.add if event_type in p.types}
        levels = (level for _, level in self.level_rules())
        return frozenset(
            level.id
            for level in levels
            if level.score in scores or (level.pattern is not None and event_type in level.pattern.types)
        )

    def feed(self, event: Seen) -> list[Occurrence | None]:
        """Adds the event to scores and counts; begins what a rising level begins."""
        begun: list[Occurrence | None] = []
        for score in self.book.scores.values():
            for pattern, points in score.add:
                if not self.matches(pattern, event):
                    continue
                try:
                    worth = float(value(points, self.roots(event)))
                except Failed:
                    continue
                levels = [(rule, level) for rule, level in self.level_rules() if level.score == score.name]
                begun += self.add(score.name, event, worth, levels)
        for rule, level in self.level_rules():
            if level.pattern is not None and self.matches(level.pattern, event):
                begun += self.add(level.id, event, 1.0, [(rule, level)])
        return begun

    def add(self, name: str, event: Seen, points: float, levels: list[tuple[Rule, Level]]) -> list[Occurrence | None]:
        added = self.past.added.setdefault(name, [])
        newest_ms = max([event.time_ms, *(each.time_ms for each in added)])
        before = [self.level_value(level, newest_ms) for _, level in levels]
        added.append(Points(event.time_ms, event.id, points))
        begun = []
        for (rule, level), was in zip(levels, before, strict=True):
            if self.rises(level, was, self.level_value(level, newest_ms), event.time_ms, newest_ms):
                begun.append(self.begin(rule, self.crossing(level, "risen", newest_ms), newest_ms))
        return begun

    def rises(self, level: Level, before: float, after: float, time_ms: int, newest_ms: int) -> bool:
        """Brings the level up to date; whether it rose over its line."""
        standing = self.levels.setdefault(level.id, Standing(armed=not level.falls))
        if level.falls:
            if standing.too_old_ms is not None and time_ms < standing.too_old_ms:
                standing.armed = True
            standing.too_old_ms = None
            standing.armed = standing.armed or after >= level.rearm
            standing.due_ms = self.falls_at(level, newest_ms) if standing.armed else None
            return False
        standing.armed = standing.armed or before < level.rearm
        if standing.armed and before < level.line <= after:
            standing.armed = False
            return True
        return False

    def crossing(self, level: Level, how: str, at_ms: int) -> Seen:
        """A crossing as an entry: named by the last event that fed the level."""
        fed = self.past.added[level.score or level.id]
        kind = "score" if level.score else "count"
        return Seen(fed[-1].event_id, f"{kind}.{how}", at_ms, "", {})

    def level_value(self, level: Level, at_ms: int) -> float:
        if level.score is not None:
            return self.score(level.score, at_ms)
        return count_in(self.past.added.get(level.id, []), level.within_ms, at_ms)

    def score(self, name: str, at_ms: int) -> float:
        score = self.book.scores[name]
        return faded(self.past.added.get(name, []), score.half_life_ms, score.ceiling, at_ms)

    def falls_at(self, level: Level, since_ms: int) -> int:
        """The first millisecond from an instant on at which the level is below its line."""
        if level.score is None:
            times = [each.time_ms + level.within_ms for each in self.past.added[level.id]]
            instants = sorted({since_ms, *(at for at in times if at > since_ms)})
            return next(at for at in instants if self.level_value(level, at) < level.line)
        half_life_ms, now = self.book.scores[level.score].half_life_ms, self.level_value(level, since_ms)
        if now < level.line:
            return since_ms
        at_ms = since_ms + math.floor(half_life_ms * math.log2(now / level.line))
        while at_ms > since_ms and self.level_value(level, at_ms - 1) < level.line:
            at_ms -= 1
        while self.level_value(level, at_ms) >= level.line:
            at_ms += 1
        return at_ms

    def cross(self, name: str) -> None:
        found = next((each for each in self.level_rules() if each[1].id == name), None)
        if found is None:
            del self.levels[name]
            return
        (rule, level), standing = found, self.levels[name]
        at_ms, standing.due_ms, standing.armed = standing.due_ms, None, False
        assert at_ms is not None
        if self.now_ms - at_ms > rule.max_age_ms:
            standing.too_old_ms = at_ms
        else:
            self.begin(rule, self.crossing(level, "fallen", at_ms), at_ms)

    # occurrences -----------------------------------------------------------------------------------------------------

    def begin(self, rule: Rule, event: Seen, at_ms: int) -> Occurrence | None:
        """Begins or restarts at an instant; None where that is too old, already over, or not let in again."""
        if self.now_ms - at_ms > rule.max_age_ms:
            return None
        try:
            values = [value(part, self.roots(event)) for part in rule.key]
        except Failed:
            return None
        key = None if not values else values[0] if len(values) == 1 else values
        key_text = None if not values else orjson.dumps(key).decode()
        if self.already_over(rule, event):
            return None
        running = next(
            (o for o in self.running if o.trigger == rule.name and key_text and o.key_text == key_text), None
        )
        if running is not None:
            return self.restart(rule, running, event, at_ms)
        last_ms = self.past.last_entry(rule.name, key_text) if key_text and rule.reentry_ms != 0 else None
        if last_ms is not None and (rule.reentry_ms == "never" or at_ms < last_ms + rule.reentry_ms):
            return None
        name = orjson.dumps([event.id] if key is None else [key, event.id]).decode()
        occurrence = Occurrence(rule.name, name, key, key_text, event.id, event, at_ms, at_ms, at_ms)
        self.running.append(occurrence)
        self.past.entries.append((rule.name, key_text, at_ms))
        return occurrence

    def restart(self, rule: Rule, running: Occurrence, event: Seen, at_ms: int) -> Occurrence | None:
        if rule.overlap == "ignore" or at_ms < running.entered_ms:
            return None
        running.event, running.entered_ms, running.step = event, at_ms, 0
        running.due_ms = running.wake_ms = at_ms
        self.past.entries.append((rule.name, running.key_text, at_ms))
        return running

    def already_over(self, rule: Rule, entry: Seen) -> bool:
        """Whether an `unless` event that is not older came before the entry did."""
        return any(
            event.time_ms >= entry.time_ms and event.id != entry.id and self.ends(pattern, event, entry)
            for pattern in rule.unless
            for event in self.past.events
            if event.type in pattern.types
        )

    def end_what_it_ends(self, event: Seen) -> None:
        for occurrence in [*self.running]:
            rule = self.book.rules.get(occurrence.trigger)
            if rule is None or event.time_ms < occurrence.entered_ms:
                continue
            for pattern in rule.unless:
                if event.type in pattern.types and self.agree(pattern, event, occurrence.event):
                    try:
                        over = holds(pattern.where, self.roots(event))
                    except Failed:  # nobody is mailed by mistake
                        over = True
                        self.drop_next(rule, occurrence, "condition_error")
                    if over:
                        self.end(occurrence)
                        break

    def drop_next(self, rule: Rule, occurrence: Occurrence, reason: str) -> None:
        step = next(step for step in rule.steps[occurrence.step :] if isinstance(step, Send))
        self.note(rule, occurrence, step, "", sends.Verdict("drop", reason, []), None)

    def ends(self, pattern: Pattern, event: Seen, entry: Seen) -> bool:
        """Whether `event` ends what `entry` began."""
        return self.agree(pattern, event, entry) and self.matches(pattern, event)

    @staticmethod
    def agree(pattern: Pattern, event: Seen, entry: Seen) -> bool:
        """Whether two events carry the pattern's `same` fields, and equal."""
        mine, theirs = event.properties, entry.properties
        return all(name in mine and name in theirs and mine[name] == theirs[name] for name in pattern.same)

    def end(self, occurrence: Occurrence) -> None:
        self.running = [each for each in self.running if each is not occurrence]

    def advance(self, occurrence: Occurrence) -> None:
        """One step of an occurrence that is due."""
        rule = self.book.rules.get(occurrence.trigger)
        if rule is None:  # withdrawn: it sends nothing
            self.end(occurrence)
            return
        step = rule.steps[occurrence.step]
        if isinstance(step, int):
            occurrence.due_ms += step
        elif not self.send(rule, occurrence, step):
            return
        occurrence.step += 1
        occurrence.wake_ms = occurrence.due_ms
        if occurrence.step == len(rule.steps):
            self.end(occurrence)

    # sends -----------------------------------------------------------------------------------------------------------

    def send(self, rule: Rule, occurrence: Occurrence, step: Send) -> bool:
        """Decides a send; whether the journey goes on."""
        moment_ms = max(occurrence.due_ms, self.now_ms)
        identity = orjson.dumps([rule.name, self.user_id, occurrence.id, step.id])
        command_id = hashlib.blake2b(identity, digest_size=16).hexdigest()
        roots = self.roots(occurrence.event, moment_ms, occurrence)
        question = sends.Question(
            rule,
            self.user_id,
            command_id,
            occurrence.key_text,
            occurrence.due_ms,
            self.now_ms,
            self.paused,
            self.is_true(rule.when, roots),
        )
        verdict = sends.ask(question, self.past)
        data: dict[str, Any] = {}
        path = None
        if verdict.kind in ("send", "shadow", "held_out"):
            for name, text in step.data.items():
                try:
                    data[name] = value(text, roots)
                except Failed:
                    verdict.kind, verdict.reason, path = "drop", "invalid_data", f"data.{name}"
                    break
        self.note(rule, occurrence, step, command_id, verdict, path)
        if verdict.kind == "defer":
            assert verdict.until is not None
            occurrence.wake_ms = verdict.until
            return False
        if verdict.kind != "drop":
            self.past.sent.append(
                Sent(
                    len(self.past.sent),
                    command_id,
                    self.now_ms,
                    verdict.kind,
                    rule.name,
                    occurrence.key_text,
                    rule.purpose,
                    occurrence.id,
                    step.id,
                )
            )
        if verdict.kind == "send":
            self.command(rule, occurrence, step, command_id, data)
        occurrence.due_ms = moment_ms
        return True

    def note(
        self,
        rule: Rule,
        occurrence: Occurrence,
        step: Send,
        command_id: str,
        verdict: sends.Verdict,
        path: str | None,
    ) -> None:
        what = [rule.name, self.user_id, occurrence.id, step.id, verdict.kind, verdict.reason, self.now_ms]
        zone = self.past.zone()
        inputs: dict[str, Any] = {"due": instant(occurrence.due_ms), "zone": sends.zone_of(zone).key}
        if sends.known_zone(zone) is None:
            inputs["zone_given"] = zone or ""
        if verdict.cause is not None:
            inputs["cause"] = verdict.cause
        if path is not None:
            inputs["path"] = path
        began = [] if occurrence.began == occurrence.event.id else [occurrence.began]
        self.written.decisions.append(
            {
                "id": hashlib.blake2b(orjson.dumps(what), digest_size=16).hexdigest(),
                "trigger": rule.name,
                "rule_hash": rule.hash,
                "user_id": self.user_id,
                "occurrence": occurrence.id,
                "step": step.id,
                "outcome": verdict.kind,
                "reason": verdict.reason,
                "gates": verdict.answers,
                "event_ids": [*began, occurrence.event.id],
                "inputs": inputs,
                "decided_at": instant(self.now_ms),
                "command_id": command_id if verdict.kind == "send" else None,
            }
        )

    def command(self, rule: Rule, occurrence: Occurrence, step: Send, command_id: str, data: dict[str, Any]) -> None:
        self.written.commands.append(
            {
                "id": command_id,
                "trigger": rule.name,
                "rule_hash": rule.hash,
                "occurrence": occurrence.id,
                "step": step.id,
                "user_id": self.user_id,
                "channel": "email",
                "template": step.template,
                "template_hash": step.template_hash,
                "purpose": rule.purpose,
                "data": data,
                "decided_at": instant(self.now_ms),
                "expires_at": instant(occurrence.due_ms + rule.expires_ms),
                "priority": rule.priority,
            }
        )

    # expressions -----------------------------------------------------------------------------------------------------

    def matches(self, pattern: Pattern, event: Seen) -> bool:
        return event.type in pattern.types and self.is_true(pattern.where, self.roots(event))

    @staticmethod
    def is_true(text: str | None, roots: Mapping[str, Callable[[str], Any]]) -> bool:
        """An expression that fails is false."""
        try:
            return holds(text, roots)
        except Failed:
            return False

    def roots(
        self, event: Seen, at_ms: int | None = None, occurrence: Occurrence | None = None
    ) -> dict[str, Callable[[str], Any]]:
        """What expressions read, scores as of an instant."""

        def of_event(name: str) -> Any:
            return getattr(event, name) if name in ("id", "type", "source") else event.properties[name]

        def of_user(name: str) -> Any:
            profile = self.past.profile()
            return profile.get(name) if name in ("zone", "locale") else profile.get("attributes", {})[name]

        roots: dict[str, Callable[[str], Any]] = {
            "event": of_event,
            "user": of_user,
            "score": lambda name: self.score(name, self.now_ms if at_ms is None else at_ms),
        }
        if occurrence is not None:
            roots["occurrence"] = lambda name: {"id": occurrence.id, "key": occurrence.key}[name]
        return roots

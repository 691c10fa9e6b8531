"""One user's decisions, computed slowly: the facts in their order, each question answered from the whole past.

An event first feeds scores, metrics, levels and segments, then ends what `unless` ends and continues what waits for it,
then begins what `on` begins. What begins or continues is decided at once when due; what waits is decided at the first
look at the timers that comes at its instant or later.
"""

from collections.abc import Callable
from typing import Any

from slow_model import crossings, edits, journeys, plans
from slow_model.crossings import Entry
from slow_model.expressions import may_hold
from slow_model.past import NEVER_ACCEPTED, Seen
from slow_model.present import ExpectedWrites, Occurrence, Present, matches, roots
from slow_model.rulebook import Book
from slow_model.sending import reach_goals
from slow_model.timeline import BROADCAST, EDITED, REMOVED, UNREADABLE, Timeline, UserRecord, Versions, ms

AHEAD_MS = 5 * 60_000
Books = Callable[[Versions], tuple[Book, frozenset[str]]]
"""The rules, and the scopes that are paused, of given versions."""


class SlowUser:
    """One user. `decide` plays everything."""

    def __init__(self, user_id: str, timeline: Timeline, books: Books) -> None:
        self.timeline, self.books = timeline, books
        self.me = Present(user_id)
        self.position = 0
        self.horizon_ms = 0

    def decide(self) -> ExpectedWrites:
        """All decisions and commands up to the last look."""
        facts = self.timeline.facts[self.me.user_id]
        self.horizon_ms = self.timeline.horizon_ms(self.me.user_id)
        for fact in facts:
            self.look_until(fact.position)
            self.at(fact.position, fact.now_ms, fact.versions)
            self.apply(fact)
        self.look_until(None)
        self.me.written.next_due_ms = self.next_due()
        return self.me.written

    def at(self, position: int, now_ms: int, versions: Versions) -> None:
        me, self.position = self.me, position
        me.now_ms = now_ms
        me.book, me.paused = self.books(versions)

    # time ------------------------------------------------------------------------------------------------------------

    def next_due(self) -> int | None:
        me = self.me
        due = [occurrence.wake_ms for occurrence in me.running]
        due += [standing.due_ms for standing in me.levels.values() if standing.due_ms is not None]
        if (moment := plans.next_moment(me)) is not None:
            due.append(moment.at_ms)
        if (changes_ms := crossings.segments_change_at(me, self.horizon_ms)) is not None:
            due.append(changes_ms)
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
        """What is due by an instant: by time; what begins something first, then by priority, trigger, occurrence.

        `feeding` names levels that the coming event feeds, and its own time: those cross only if they did before.
        """
        me = self.me
        while True:
            due = [occurrence for occurrence in me.running if occurrence.wake_ms <= until_ms]
            first = min(due, key=self.order, default=None)
            beginning = self.first_beginning(until_ms, feeding)
            if beginning is not None and (first is None or beginning[0] <= first.wake_ms):
                for entry in beginning[1]():
                    journeys.begin(me, entry)
            elif first is not None:
                journeys.advance(me, first)
            else:
                return

    def first_beginning(
        self, until_ms: int, feeding: tuple[frozenset[str], int]
    ) -> tuple[int, Callable[[], list[Entry]]] | None:
        """The first change that time causes: a level that falls, a segment that changes, a slot or a date."""
        me = self.me
        found: list[tuple[int, int, str, Callable[[], list[Entry]]]] = []
        for name, standing in me.levels.items():
            at_ms = standing.due_ms
            if at_ms is not None and not (name in feeding[0] and at_ms >= feeding[1]):
                found.append((at_ms, 0, name, lambda name=name, at_ms=at_ms: self.cross(name, at_ms)))  # type: ignore[misc]
        changes_ms = crossings.segments_change_at(me, until_ms)
        if changes_ms is not None:
            found.append((changes_ms, 1, "", lambda: crossings.ask_segments_due(me, changes_ms)))
        moment = plans.next_moment(me)
        if moment is not None:
            found.append((moment.at_ms, 2, "", lambda: self.come(moment)))
        due = [each for each in found if each[0] <= until_ms]
        if not due:
            return None
        at_ms, _, _, make = min(due, key=lambda each: each[:3])
        return at_ms, make

    def cross(self, name: str, at_ms: int) -> list[Entry]:
        standing = self.me.levels[name]
        found = next((each for each in self.me.book.levels if each[1].id == standing.level), None)
        if found is None:  # its rule is there no more
            del self.me.levels[name]
            return []
        rule, _ = found
        standing.armed, standing.due_ms = False, None
        if self.me.now_ms - at_ms > rule.max_age_ms:
            standing.too_old_ms = at_ms
            return []
        return [Entry(rule, crossings.crossing(self.me, standing, "fallen", at_ms), at_ms)]

    def come(self, moment: plans.Moment) -> list[Entry]:
        self.me.past.fired.add((moment.source, moment.day.isoformat()))
        if moment.source in self.me.slots_after:
            self.me.slots_after[moment.source] = moment.at_ms
        return [Entry(moment.rule, moment.entry, moment.at_ms)]

    def order(self, occurrence: Occurrence) -> tuple[int, int, str, str]:
        rule = self.me.book.rules.get(occurrence.trigger)
        return occurrence.wake_ms, -rule.priority if rule else 0, occurrence.trigger, occurrence.id

    # facts -----------------------------------------------------------------------------------------------------------

    def apply(self, fact: UserRecord) -> None:
        if fact.topic == "profiles":
            self.profile(fact.body)
        elif fact.topic == REMOVED:
            self.me = Present(self.me.user_id, written=self.me.written)
        elif fact.topic == EDITED:
            edits.follow(self.me)
        elif fact.topic == UNREADABLE:
            self.fire(self.me.now_ms - 1)
            self.me.past.words.append(("unreadable", fact.body))
        elif fact.topic == "outcomes":
            self.outcome(fact.body)
        elif fact.topic == BROADCAST:
            self.broadcast(self.in_time(_seen(fact.body)))
        else:
            self.event(_seen(fact.body))

    def broadcast(self, event: Seen) -> None:
        if journeys.listens(self.me, event):  # else nothing happens, also no look at the timers
            self.fire(self.me.now_ms - 1)
            self.run_now(journeys.reach(self.me, event))

    def profile(self, body: dict[str, Any]) -> None:
        me = self.me
        self.fire(me.now_ms - 1)
        crossings.meet(me, me.book.segments)
        turning = crossings.turning_now(me, me.book.segments)
        before, moved = me.past.profile(), body.get("zone") != me.past.zone()
        if moved:  # what was due at this instant comes, also if the new zone moves later ones
            crossings.keep_due(me, turning)
        me.past.words.append(("profile", body))
        addresses = [(each.get("address") or "").lower() for each in (before, body)]
        if addresses[0] and addresses[0] != addresses[1]:
            me.past.address_since_ms = me.now_ms
        if moved and me.planned_ms is not None:
            plans.moved(me)
        if moved:
            crossings.moved(me)
        me.planned_ms = me.now_ms
        compared = ("zone", "locale", "attributes")
        changed = not before or any(body.get(name) != before.get(name) for name in compared)
        moving = crossings.profile_segments(me, changed=changed, moved=moved)
        if moved:  # local midnights come by the new zone from now on
            by_day = [name for name in me.segments if "now" in me.book.segments.get(name, "")]
            me.asked_ms.update(dict.fromkeys(by_day, me.now_ms))
        begun = [journeys.begin(me, entry) for entry in crossings.ask_segments(me, moving, me.now_ms, turning=turning)]
        self.run_now([*journeys.replan(me, moved=moved), *(each for each in begun if each is not None)])

    def outcome(self, body: dict[str, Any]) -> None:
        past, kind, command_id = self.me.past, body["kind"], body["command_id"]
        sent = past.sent_as(command_id)
        properties: dict[str, Any] = {"machine": body.get("machine", "unknown")}
        if sent is not None:
            properties |= {"trigger": sent.trigger, "step": sent.step, "occurrence": sent.occurrence}
        elif body.get("channel") == "webhook":
            properties |= {"trigger": body.get("trigger"), "step": body.get("step")}
        if body.get("url") is not None:
            properties["url"] = body["url"]
        name = f"{body.get('channel', 'email')}.{kind}"
        seen = Seen(body["id"], name, ms(body["time"]), body.get("provider", ""), properties)
        if not self.event(seen):
            return
        if kind in NEVER_ACCEPTED:
            past.given_back[command_id] = len(past.sent)
        to_an_earlier_address = sent is not None and sent.at_ms < past.address_since_ms
        if (kind == "complained" or body.get("hard")) and not to_an_earlier_address:
            past.words.append(("suppress", None))
        elif kind == "reinstated":
            past.words.append(("reinstate", None))
        elif kind == "unsubscribed":
            past.words.append(("unsubscribed", (sent and sent.consent, seen.time_ms)))

    def event(self, event: Seen) -> bool:
        """What the event does; false if it is a repeated one."""
        me = self.me
        if not event.type.startswith(("email.", "webhook.")) and not self.concerns(event):
            return True  # what concerns no rule and no definition changes nothing, and its id is not remembered
        if me.past.is_repeated(event.id, me.now_ms):
            return False
        event = self.in_time(event)
        self.fire(me.now_ms - 1, (crossings.fed_by(me, event), event.time_ms))
        moving = crossings.fed_segments(me, event)
        crossings.meet(me, moving)
        turning = crossings.turning_now(me, moving)
        entries = [*crossings.feed(me, event), *crossings.ask_segments(me, moving, me.now_ms, event, turning)]
        journeys.end_what_it_ends(me, event)
        met = journeys.meet(me, event)
        reach_goals(me, event)
        hear = (rule for rule in me.book.ranked if any(matches(me, pattern, event) for pattern in rule.patterns))
        entries += [Entry(rule, event, event.time_ms) for rule in hear]
        begun = [journeys.begin(me, entry) for entry in [*entries, *crossings.complete(me, event)]]
        self.run_now([*met, *(occurrence for occurrence in begun if occurrence is not None)])
        return True

    def in_time(self, event: Seen) -> Seen:
        """The event, at the clock if its own time is too far ahead."""
        now_ms = self.me.now_ms
        return event._replace(time_ms=now_ms) if event.time_ms > now_ms + AHEAD_MS else event

    def concerns(self, event: Seen) -> bool:
        """Whether a pattern accepts the event, if it reads only the event. One that reads more may accept any."""
        me = self.me
        reading = me.book.patterns.get(event.type, ())
        if event.time_ms > me.now_ms + AHEAD_MS:
            return bool(reading)
        return any(may_hold(pattern.where, roots(me, event)) for pattern in reading)

    def run_now(self, occurrences: list[Occurrence]) -> None:
        """Goes on with these as far as they are due."""
        while True:
            me = self.me
            due = [o for o in occurrences if o.wake_ms <= me.now_ms and any(o is each for each in me.running)]
            if not due:
                return
            journeys.advance(me, min(due, key=self.order))


def _seen(body: dict[str, Any]) -> Seen:
    return Seen(body["id"], body["type"], ms(body["time"]), body.get("source", ""), body.get("properties", {}))

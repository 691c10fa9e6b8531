"""The evaluator: applies events, profiles and outcomes to a user's state, and fires what is due.

An event first updates scores, metrics and segments, then ends what it ends, then begins what it begins. Timers due
before it fire before it; those due at its instant wait for `fire_due`. What it begins itself is decided at once when
due. Schedules and dates are timers too. Same state, same rules, same input, same clock: same effects.
"""

import hashlib
from collections.abc import Mapping
from zoneinfo import ZoneInfo

from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.vocabulary import NEVER_ACCEPTED, OutcomeKind
from schemas.zones import zone_hint, zone_named
from triggers.cel.conditions import Context
from triggers.cel.runtime import as_ms
from triggers.engine import goals, journeys, levels, metrics, planning, segments, sequences
from triggers.engine.caps import release
from triggers.engine.skipping import skip_due
from triggers.engine.turn import Effects, Turn, same_fields
from triggers.rules.rule import Send, Trigger
from triggers.rules.ruleset import AHEAD_MS, Route, RuleSet
from triggers.rules.state import Occurrence, Reservation, StoredConsent, StoredEvent, UnlessEvent, User, UserState

PROFILE_WAIT_MS = 30_000
"""Publishers send a profile and an event together, and Kafka gives no order over two topics."""
SEEN_IDS = 64
SEEN_MS = 86_400_000
MAX_UNLESS_EVENTS = 16
_CROSSING, _SEGMENT, _PLAN = range(3)
"""At one instant they go in this order."""
_NO_ROUTE = Route()


class Evaluator:
    """Applies events, profiles, outcomes and time to states. `paused` holds scopes: global, trigger/NAME, purpose/NAME.

    `profile_wait_ms` is how long a send that needs consent waits for the user's first profile.
    """

    def __init__(
        self,
        rules: RuleSet,
        default_zone: str = "UTC",
        paused: frozenset[str] = frozenset(),
        profile_wait_ms: int = PROFILE_WAIT_MS,
    ) -> None:
        zone = zone_named(default_zone)
        if zone is None:
            raise ValueError(f"default_zone: {default_zone!r} is no time zone; {zone_hint(default_zone)}")
        self.rules = rules
        self.paused = paused
        self._zone: ZoneInfo = zone
        self._profile_wait_ms = profile_wait_ms

    def turn(self, state: UserState, now_ms: int) -> Turn:
        """A turn of this evaluator, for what seeds a state."""
        return Turn(self.rules, state, now_ms, self._zone, self._profile_wait_ms)

    def apply_event(self, state: UserState, event: Event, now_ms: int) -> Effects:
        """What the event does. One of the last 64 ids within 24 h changes nothing.

        An event that concerns no rule changes nothing either, and its id is not remembered.
        """
        stored = stored_event(event)
        if self.concerns(stored, now_ms):
            return self.apply_stored(state, stored, now_ms)
        turn = self.turn(state, now_ms)
        self._fire(turn, now_ms, inclusive=False)
        return turn.effects

    def apply_stored(self, state: UserState, stored: StoredEvent, now_ms: int) -> Effects:
        """Like `apply_event`, for an event that concerns a rule: the caller has checked `concerns`."""
        turn = self.turn(state, now_ms)
        self._apply(turn, stored)
        return turn.effects

    def concerns(self, event: StoredEvent, now_ms: int) -> bool:
        """Whether the event can change any user's state; if not, the state need not be decoded."""
        route = self.rules.routes.get(event.type)
        return route is not None and (event.time_ms > now_ms + AHEAD_MS or route.interest.takes(event, now_ms))

    def apply_profile(self, state: UserState, profile: Profile, now_ms: int) -> Effects:
        """Replaces the user's profile. Schedules, dates and waits are planned anew, and held sends where the
        zone changed or no profile was known. A zone that is none is counted; the project's stands in for it (settled
        case 21)."""
        turn = self.turn(state, now_ms)
        self._fire(turn, now_ms, inclusive=False)
        self._forget(state)
        segments.initialize(turn)
        before, known = state.user, state.profiled
        moved = profile.zone != before.zone
        _take_profile(state, profile, now_ms)
        if profile.zone and turn.zone_given() is None:
            turn.count("unknown_zone")
        begun = self._move(turn, segments.at_profile(turn, changed=not known or state.user != before, moved=moved))
        planning.plan(turn, moved=moved)
        if moved:
            levels.plan_calendar(turn)
        self._run(turn, begun + journeys.follow(turn, moved=moved))
        return turn.effects

    def withdraw(self, state: UserState, refused: Mapping[str, int], now_ms: int) -> Effects:
        """A profile that cannot be read: no consent stands until one can. `refused` are the purposes to which it says
        no, each with the instant in milliseconds."""
        turn = self.turn(state, now_ms)
        self._fire(turn, now_ms, inclusive=False)
        state.consent = {purpose: answer for purpose, answer in state.consent.items() if not answer.granted}
        for purpose, at in refused.items():
            before = state.consent.get(purpose)
            state.consent[purpose] = StoredConsent(False, at if before is None else max(at, before.at))
        return turn.effects

    def start(self, state: UserState, profile: Profile, now_ms: int) -> Turn:
        """Sets a profile before anything happens, which begins nothing; returns the turn to seed the state in."""
        _take_profile(state, profile, now_ms)
        return self.turn(state, now_ms)

    def apply_outcome(self, state: UserState, outcome: Outcome, now_ms: int) -> Effects:
        """What became of a command: reservations go back, consent and suppression follow, and it is an event too.

        The event is `CHANNEL.KIND` with properties trigger, step, occurrence, url, machine. Where the command is no
        longer remembered these name no rule, and `unmatched_outcome` is counted.
        """
        turn = self.turn(state, now_ms)
        known = next((r for r in state.reservations if r.command_id == outcome.command_id), None)
        if known is None:
            turn.count("unmatched_outcome")
        stored = _outcome_event(outcome, known)
        if self._apply(turn, stored):
            _follow(turn, outcome, known)
        return turn.effects

    def heed(self, state: UserState, outcome: Outcome, now_ms: int) -> Effects:
        """Applies an outcome to consent and suppression alone, not as an event."""
        turn = self.turn(state, now_ms)
        _follow(turn, outcome, next((r for r in state.reservations if r.command_id == outcome.command_id), None))
        return turn.effects

    def plan(self, state: UserState, now_ms: int) -> Effects | None:
        """Plans the schedules and dates of rules that are new to the user, as of now; None where they are not.

        Every call that applies something to a state does this first. For a user without further records, call it.
        """
        if not state.profiled or state.plan_version == self.rules.plan_version:
            return None
        turn = self.turn(state, now_ms)
        planning.refresh(turn)
        return turn.effects

    def fire_due(self, state: UserState, now_ms: int) -> Effects:
        """Fires every timer due by now: in order of time, crossings first, then by priority and trigger's name."""
        turn = self.turn(state, now_ms)
        self._fire(turn, now_ms, inclusive=True)
        return turn.effects

    def skip_due(self, state: UserState, now_ms: int) -> Effects:
        """Skips every timer due by now, of a user for whom `fire_due` raises an exception."""
        turn = self.turn(state, now_ms)
        skip_due(turn)
        return turn.effects

    def skip_planning(self, state: UserState, now_ms: int) -> Effects:
        """Leaves a user for whom `plan` raises an exception without schedules and dates, so that all else goes on."""
        turn = self.turn(state, now_ms)
        planning.forgo(turn)
        return turn.effects

    # events ----------------------------------------------------------------------------------------------------------

    def _apply(self, turn: Turn, event: StoredEvent) -> bool:
        if _repeated(turn.state, event.id, turn.now_ms):
            turn.count("duplicate")
            return False
        if event.time_ms > turn.now_ms + AHEAD_MS:
            event.time_ms = turn.now_ms
            turn.count("clamped")
        route = self.rules.routes.get(event.type, _NO_ROUTE)
        state = turn.state
        if state.running or state.levels or state.segments or state.plan_version != self.rules.plan_version:
            self._fire(turn, turn.now_ms, inclusive=False, fed=levels.fed(route, event), event_ms=event.time_ms)
        self._forget(state)
        context = turn.context(event, None, turn.now_ms)
        entries = _update(turn, route, event, context)
        if state.running:
            journeys.unless(turn, event)
        _remember_unless(turn, route, event, context)
        if route.goals:
            goals.reach(turn, event, context)
        begun = self._move(turn, entries)
        self._begin(turn, route, event, context, begun)
        if begun:
            self._run(turn, begun)
        return True

    def _forget(self, state: UserState) -> None:
        """Forgets the metrics that the rules no longer have."""
        if not all(map(self.rules.keeps, state.windows)):
            state.windows = {key: window for key, window in state.windows.items() if self.rules.keeps(key)}

    def _move(self, turn: Turn, entries: list[segments.Move]) -> list[Occurrence]:
        """Begins what crossings and segments begin."""
        begun: list[Occurrence] = []
        for trigger, entry in entries:
            _keep(begun, journeys.begin(turn, trigger, entry, entry.time_ms))
        return begun

    def _begin(self, turn: Turn, route: Route, event: StoredEvent, context: Context, begun: list[Occurrence]) -> None:
        for rule, last in sequences.feed(turn, route, event, context) if route.sequences else ():
            _keep(begun, journeys.begin(turn, rule.trigger, last, last.time_ms))
        for trigger, patterns in route.begins:
            if any(each.trigger == trigger.name and each.event is event for each in begun):
                continue  # a sequence that it ends has begun the same
            if any(turn.holds(trigger.name, "on", pattern.where, context) for pattern in patterns):
                _keep(begun, journeys.begin(turn, trigger, event, event.time_ms, context))

    # timers ----------------------------------------------------------------------------------------------------------

    def _fire(
        self,
        turn: Turn,
        limit: int,
        *,
        inclusive: bool,
        fed: frozenset[str] = frozenset(),
        event_ms: int | None = None,
    ) -> None:
        """Fires what is due before `limit` (or at it); of crossings that an event feeds, those before its own time.

        At one instant crossings go first, then segments, then schedules and dates, then occurrences.
        """
        planning.refresh(turn)
        due_before = limit + 1 if inclusive else limit
        fed_before = due_before if event_ms is None else min(due_before, event_ms)
        begin = (self._cross, self._ask_segment, self._reach)
        while True:
            occurrence = self._first(turn.state.running, due_before)
            beginning = _first_beginning(turn.state, due_before, fed, fed_before)
            if beginning is not None and (occurrence is None or beginning[0] <= occurrence.wake):
                _, kind, name = beginning
                begin[kind](turn, name)
            elif occurrence is not None:
                journeys.advance(turn, occurrence, self.paused)
            else:
                return

    def _first(self, running: list[Occurrence], due_before: int) -> Occurrence | None:
        """The occurrence that wakes first before an instant."""
        due = [occurrence for occurrence in running if occurrence.wake < due_before]
        if len(due) < 2:
            return due[0] if due else None
        return min(due, key=self._order)

    def _cross(self, turn: Turn, name: str) -> None:
        level = turn.state.levels[name]
        rule = self.rules.level(name)
        if rule is None:
            del turn.state.levels[name]
            return
        crossed = levels.cross(turn, rule, level)
        if crossed is not None:
            journeys.begin(turn, rule.trigger, crossed, crossed.time_ms)

    def _ask_segment(self, turn: Turn, key: str) -> None:
        self._move(turn, segments.fall_due(turn, key))

    def _reach(self, turn: Turn, name: str) -> None:
        """The moment of a schedule or date."""
        clock = self.rules.clocks[name]
        entry = planning.reach(turn, clock)
        journeys.begin(turn, clock.trigger, entry, entry.time_ms)

    def _run(self, turn: Turn, occurrences: list[Occurrence]) -> None:
        """Goes on with these occurrences as far as they are due."""
        while True:
            alive = {id(each) for each in turn.state.running}
            due = [o for o in occurrences if o.wake <= turn.now_ms and id(o) in alive]
            if not due:
                return
            journeys.advance(turn, min(due, key=self._order), self.paused)

    def _order(self, occurrence: Occurrence) -> tuple[int, int, str, str]:
        trigger = self.rules.triggers.get(occurrence.trigger)
        return (occurrence.wake, -_priority(trigger), occurrence.trigger, occurrence.id)


def stored_event(event: Event) -> StoredEvent:
    """The event as rules see it."""
    return StoredEvent(event.id, event.type, as_ms(event.time), event.source, event.properties)


def _first_crossing(state: UserState, due_before: int, fed: frozenset[str], fed_before: int) -> tuple[int, str] | None:
    """The crossing that is due first: (instant, its id)."""
    first: tuple[int, str] | None = None
    for name, level in state.levels.items():
        due = level.due
        if due is None or due >= (fed_before if name in fed else due_before):
            continue
        if first is None or (due, name) < first:
            first = (due, name)
    return first


def _first_beginning(
    state: UserState, due_before: int, fed: frozenset[str], fed_before: int
) -> tuple[int, int, str] | None:
    """What time alone may begin first: its instant, whether it is a crossing, a segment or a plan, and its id."""
    found = []
    if (crossing := _first_crossing(state, due_before, fed, fed_before)) is not None:
        found.append((crossing[0], _CROSSING, crossing[1]))
    for key, membership in state.segments.items():
        if membership.due is not None and membership.due < due_before:
            found.append((membership.due, _SEGMENT, key))
    if state.plans and (moment := planning.first(state, due_before)) is not None:
        found.append((moment[0], _PLAN, moment[1]))
    return min(found, default=None)


def _update(turn: Turn, route: Route, event: StoredEvent, context: Context) -> list[segments.Move]:
    """Scores, metrics and segments, then the crossings of windows, which may read those; what they begin."""
    risen: list[levels.Rise] = []
    moves: list[segments.Move] = []
    before = segments.before_event(turn, route) if route.segments else {}
    fed = metrics.feed(turn, route, event, context) if route.metrics else []
    if route.additions:
        risen, scores = levels.feed_scores(turn, route, event, context)
        fed += scores
    if route.segments and fed:
        moves = segments.at_event(turn, route, event, frozenset(fed), before)
    if route.crossings:
        risen += levels.feed_windows(turn, route, event, context)
    return [*((rule.trigger, entry) for rule, entry in risen), *moves]


def _priority(trigger: Trigger | None) -> int:
    return trigger.priority if trigger is not None else 0


def _keep(begun: list[Occurrence], occurrence: Occurrence | None) -> None:
    if occurrence is not None and not any(each is occurrence for each in begun):
        begun.append(occurrence)


def _repeated(state: UserState, event_id: str, now_ms: int) -> bool:
    """Whether the id is among the last 64 within 24 h; remembers it."""
    seen = state.seen
    while seen:  # the oldest come first
        oldest = next(iter(seen))
        if now_ms - seen[oldest] < SEEN_MS:
            break
        del seen[oldest]
    if event_id in seen:
        return True
    if len(seen) >= SEEN_IDS:
        del seen[next(iter(seen))]
    seen[event_id] = now_ms
    return False


def _remember_unless(turn: Turn, route: Route, event: StoredEvent, context: Context) -> None:
    """Keeps `unless` events: an entry that arrives later and is not newer is over before it begins."""
    for trigger, pattern in route.unless_events:
        if turn.now_ms - event.time_ms > trigger.max_age_ms:
            continue
        if pattern.where is not None and not turn.holds(trigger.name, "unless", pattern.where, context):
            continue
        if any(name not in event.properties for name in pattern.same):
            continue
        since = turn.now_ms - trigger.max_age_ms
        known = [each for each in turn.state.unless_events.get(trigger.name, ()) if each.time_ms >= since]
        newest = UnlessEvent(event.time_ms, event.id, list(pattern.same), same_fields(pattern, event))
        events = _with_unless(known, newest)
        if len(events) > MAX_UNLESS_EVENTS:
            turn.forgot(trigger.name, "unless events")
        turn.state.unless_events[trigger.name] = events[-MAX_UNLESS_EVENTS:]


def _with_unless(known: list[UnlessEvent], new: UnlessEvent) -> list[UnlessEvent]:
    """The events with one more. Of equal `same` values only the latest counts: it ends whatever an older one ends."""

    def alike(each: UnlessEvent) -> bool:
        return each.names == new.names and each.same == new.same

    if any(alike(each) and each.time_ms > new.time_ms for each in known):
        return known
    return [each for each in known if not alike(each) or each.time_ms == new.time_ms] + [new]


# profiles and outcomes -----------------------------------------------------------------------------------------------


def _take_profile(state: UserState, profile: Profile, now_ms: int) -> None:
    state.user = User(state.user_id, profile.zone, profile.locale, profile.attributes)
    state.profiled = True
    _take_consent(state, profile)
    digest = _digest(profile.address)
    if digest != state.address_digest:
        state.suppressed = False
        if state.address_digest:
            state.address_since = now_ms
        state.address_digest = digest


def _take_consent(state: UserState, profile: Profile) -> None:
    """The profile's word on consent, except where the user unsubscribed after it was given."""
    known = state.consent
    state.consent = {name: StoredConsent(each.granted, as_ms(each.time)) for name, each in profile.consent.items()}
    for purpose, before in known.items():
        now = state.consent.get(purpose)
        if not before.granted and now is not None and now.granted and before.at > now.at:
            state.consent[purpose] = before


def _digest(address: str | None) -> str:
    """What a changed address is known by; the address itself is not kept."""
    return hashlib.blake2b(address.lower().encode(), digest_size=8).hexdigest() if address else ""


def _outcome_event(outcome: Outcome, known: Reservation | None) -> StoredEvent:
    properties: dict[str, object] = {"machine": outcome.machine}
    if known is not None:
        properties |= {"trigger": known.trigger, "step": known.step, "occurrence": known.occurrence}
    if outcome.url is not None:
        properties["url"] = outcome.url
    channel = known.channel if known is not None else "email"
    return StoredEvent(outcome.id, f"{channel}.{outcome.kind.value}", as_ms(outcome.time), outcome.provider, properties)


def _follow(turn: Turn, outcome: Outcome, known: Reservation | None) -> None:
    """Reservations, suppression and consent after an outcome."""
    state = turn.state
    if outcome.kind in NEVER_ACCEPTED:
        release(turn, outcome.command_id)
    if outcome.kind is OutcomeKind.COMPLAINED or outcome.is_hard:
        state.suppressed = state.suppressed or _is_about_present_address(turn, known)
    elif outcome.kind is OutcomeKind.REINSTATED:
        state.suppressed = False
    elif outcome.kind is OutcomeKind.UNSUBSCRIBED:
        # Of a command no longer remembered nobody can tell the purpose: the user's no is to all of them.
        purposes = [known.purpose] if known is not None else [p for p, each in state.consent.items() if each.granted]
        state.consent |= dict.fromkeys(purposes, StoredConsent(False, as_ms(outcome.time)))


def _is_about_present_address(turn: Turn, known: Reservation | None) -> bool:
    """Whether the mail went to the profile's address as it is now: not to an earlier one, nor where the rule wrote to.

    Of a command no longer remembered nobody can tell; delivery knows each command's address, and withholds by that.
    """
    if known is None:
        return True
    rule = turn.rules.triggers.get(known.trigger)
    steps = rule.steps if rule is not None else ()
    elsewhere = any(isinstance(step, Send) and step.id == known.step and step.to is not None for step in steps)
    return not elsewhere and known.at >= turn.state.address_since

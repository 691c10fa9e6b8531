"""Decides which mail may begin on which lane, and what the others wait for. Pure: time and permits are passed in.

Mails wait by lane: the source that is theirs, at the site of their domain. While that source is suspended there, or on
probation, the other sources of the pool take from its queue too; its mails stay in it, and nothing has to move back.
A lane is looked at when something happens to it or its time has come, and not otherwise: so a decision costs no more
when many lanes and mails wait.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush

from senders.shaping.actions import ActionBook, ActiveAction
from senders.shaping.bindings import Binding, BindingKind
from senders.shaping.file import ShapingFile
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_bindings import KindBindings, LaneBindings
from senders.shaping.lane_queue import LaneQueue
from senders.shaping.lane_round import FindBook, LaneRound
from senders.shaping.lane_state import LaneKey, LaneState
from senders.shaping.mail_places import MailPlaces
from senders.shaping.permit_table import PermitRequest
from senders.shaping.permits import ClockReading
from senders.shaping.pools import pool_of
from senders.shaping.resolution import Egress
from senders.shaping.sites import Destination
from senders.shaping.ways import ShapedMail, TrafficKind

REFUSED_US = SECOND_US
"""How long a lane leaves a connection limit alone that had no slot free."""

_RATES = frozenset({BindingKind.MESSAGE_RATE, BindingKind.CONNECTION_RATE})


@dataclass(frozen=True, slots=True)
class LaneBegin:
    """A mail that begins now, on this lane."""

    lane: LaneKey
    mail: ShapedMail
    egress: Egress


@dataclass(slots=True)
class LaneDecision:
    """What to do now, and when to decide again at the latest."""

    begins: list[LaneBegin] = field(default_factory=list)
    opens: dict[LaneKey, int] = field(default_factory=dict)
    """Connections to open. They count as opening until the board hears of them."""
    permits: list[PermitRequest] = field(default_factory=list)
    lookups: set[str] = field(default_factory=set)
    wake_us: int | None = None


class LaneBoard:
    """Used in the event loop's thread only."""

    def __init__(self, file: ShapingFile, book: FindBook) -> None:
        self.actions = ActionBook()
        self._file = file
        self._book = book
        self._places = MailPlaces(file)
        self._lanes: dict[LaneKey, LaneState] = {}
        self._groups: dict[tuple[str, str], dict[LaneKey, LaneState]] = {}
        """The lanes that can take over from each other, in the order in which they came."""
        self._look: set[LaneKey] = set()
        self._timers: list[tuple[int, LaneKey]] = []
        self._bindings = LaneBindings()
        self._waits_for: dict[str, set[LaneKey]] = {}
        """Lanes by the limits whose permits they wait for."""

    @property
    def file(self) -> ShapingFile:
        """The file in force."""
        return self._file

    # mails

    def add(self, mail: ShapedMail) -> None:
        """A mail is due. One that waits already stays where it is."""
        placed = self._places.place(mail)
        if placed is not None:
            lane = self._lane(placed)
            lane.queue.put(mail)
            self._places.put(mail.id, lane.key)
            self._touch(lane.key)

    def remove(self, mail_id: str) -> None:
        """A mail waits no more: its partition was lost, or it was answered otherwise."""
        key = self._places.remove(mail_id)
        if key is not None:
            self._lanes[key].queue.remove(mail_id)

    def looked_up(self, destination: Destination) -> None:
        """The MX hosts of a domain are known, perhaps others than before: that concerns mails that come from now on."""
        for mail in self._places.looked_up(destination):
            self.add(mail)

    def lookup_failed(self, domain: str, until_us: int) -> None:
        """The MX hosts of a domain are not known: its mails wait, and it is looked up again then."""
        self._places.lookup_failed(domain, until_us)

    def ended(self, key: LaneKey, mail_id: str, now_us: int, *, taken: bool) -> list[ActiveAction]:
        """A mail has its answer. `taken`: the server took it. Returns the suspensions whose probation that ends."""
        lane = self._lanes[key]
        lane.in_flight.discard(mail_id)
        over = self.actions.taken(lane.targets.values(), now_us) if taken else []
        self._touch(key)
        return over

    # connections

    def opened(self, key: LaneKey) -> None:
        """A connection is ready for mails."""
        lane = self._lanes[key]
        lane.opening, lane.open = lane.opening - 1, lane.open + 1
        lane.connected()
        self._look.add(key)

    def not_opened(self, key: LaneKey, now_us: int, *, refused: bool = False) -> None:
        """A connection was not opened: no slot of a limit was free (`refused`), or it failed."""
        lane = self._lanes[key]
        lane.opening -= 1
        if refused:
            lane.refused_until_us = now_us + REFUSED_US
        else:
            lane.failed(now_us)
        self._look.add(key)

    def failed(self, key: LaneKey, now_us: int) -> None:
        """A connection ended before a mail was taken, and could not be opened anew."""
        self._lanes[key].failed(now_us)
        self._look.add(key)

    def closed(self, key: LaneKey) -> None:
        """A connection that was open is closed."""
        self._lanes[key].open -= 1
        self._look.add(key)

    def gave_up(self, key: LaneKey, now_us: int) -> None:
        """A connection was given up because another worker wants one: the lane leaves the slot to it."""
        self._lanes[key].refused_until_us = now_us + 2 * REFUSED_US
        self._look.add(key)

    # rules and permits

    def act(self, actions: Iterable[ActiveAction]) -> None:
        """Actions of rules or of people, of this worker or of another, are in force."""
        for action in actions:
            self.actions.add(action)
        for key in list(self._lanes):
            self._touch(key)

    def follow(self, action: ActiveAction, *, lifted: bool) -> None:
        """An action is as another worker or a person has it."""
        self.actions.follow(action, lifted=lifted)
        for key in list(self._lanes):
            self._touch(key)

    def granted(self, names: Iterable[str]) -> None:
        """These limits have answered: the lanes that wait for them are looked at."""
        for name in names:
            self._look |= self._waits_for.pop(name, set())

    def reshape(self, file: ShapingFile) -> None:
        """Another file is in force. Mails under way stay where they are; those that wait are placed anew."""
        waiting = [*self._places.unpooled(), *(mail for lane in self._lanes.values() for mail in lane.queue.mails())]
        self._file = file
        self._places.reshape(file)
        for lane in self._lanes.values():
            lane.queue = LaneQueue()
            lane.stale(self._places.egress(lane.egress.domain, lane.key.source))
        for mail in waiting:
            self._places.remove(mail.id)
            self.add(mail)

    # what to do

    def decide(self, now: ClockReading) -> LaneDecision:
        """What may begin now, mails of a higher priority first."""
        now_us = now.earliest_us
        self.actions.forget(now_us)
        while self._timers and self._timers[0][0] <= now_us:
            self._look.add(heappop(self._timers)[1])
        looked, self._look = self._look, set()
        decision, current = LaneDecision(), LaneRound(self._file, self.actions, self._book, now)
        first = {key: heads[0] for key in looked if (heads := self._heads(self._lanes[key]))}
        for key in sorted(first, key=lambda key: (-first[key].priority, first[key].due_us, key)):
            self._work(self._lanes[key], current, decision, now_us)
        for key in looked - first.keys():
            self._bindings.put(key, {})
        decision.permits = current.permits
        decision.lookups = self._places.lookups(now_us)
        times = [*(at for at, _ in self._timers[:1]), *self._places.retries(now_us)]
        decision.wake_us = min(times, default=None)
        return decision

    def _work(self, lane: LaneState, current: LaneRound, decision: LaneDecision, now_us: int) -> None:
        """Begins what may begin on a lane, and notes what binds the rest."""
        lane.refresh(self.actions, now_us)
        bindings: KindBindings = {}
        while not bindings and (heads := self._heads(lane)):
            if (stop := current.lane_binding(lane)) is not None:
                bindings = {None: stop}
            elif not lane.idle:
                opens, missing = current.connect(lane, self._waiting(lane))
                lane.opening += opens
                if opens:
                    decision.opens[lane.key] = decision.opens.get(lane.key, 0) + opens
                bindings = {None: missing}
            else:
                mail, bindings = self._next(lane, heads, current)
                if mail is not None:
                    decision.begins.append(self._begin(lane, mail))
        self._bind(lane.key, bindings, now_us)

    def _begin(self, lane: LaneState, mail: ShapedMail) -> LaneBegin:
        self.remove(mail.id)
        lane.in_flight.add(mail.id)
        return LaneBegin(lane.key, mail, self._places.egress(mail.domain, lane.key.source))

    def _next(
        self, lane: LaneState, heads: list[ShapedMail], current: LaneRound
    ) -> tuple[ShapedMail | None, KindBindings]:
        """The mail that begins next, or what keeps the first of each kind waiting."""
        bindings: KindBindings = {}
        waiting = self._waiting(lane)
        for mail in heads:
            binding = current.mail_binding(lane, mail.kind, waiting)
            if binding is None:
                return mail, {}
            bindings.setdefault(mail.kind, binding)
        return None, bindings

    def _bind(self, key: LaneKey, bindings: KindBindings, now_us: int) -> None:
        """Notes what binds a lane, and looks at it again when any of it may have ended."""
        self._bindings.put(key, bindings)
        for binding in bindings.values():
            if binding.kind in _RATES:
                self._waits_for.setdefault(binding.name, set()).add(key)
            if binding.until_us is not None:
                heappush(self._timers, (max(binding.until_us, now_us + 1), key))

    def binding(self, mail_id: str) -> Binding | None:
        """What a mail waits for, as of the last decision; None if it does not wait."""
        key = self._places.lane(mail_id)
        if key is None:
            return self._places.binding(mail_id)
        return self._binding(self._lanes[key]) or Binding(BindingKind.BEHIND, str(key))

    def _binding(self, lane: LaneState, kind: TrafficKind | None = None) -> Binding | None:
        """What binds the mails of a lane, or of one kind there, on every lane that may take them."""
        takers = [each.key for each in self._group(lane) if each is lane or self._gives(lane)]
        return self._bindings.of_mails(takers, kind)

    # what waits for long

    def long_bound(self, until_us: int) -> Iterator[tuple[ShapedMail, Binding]]:
        """The waiting mails that nothing lets begin before then, as of the last decision, each with what binds it.

        Those of a lane that reaches no server are among them, whenever its next connection is tried.
        """
        yield from self._places.long_bound(until_us)
        for lane in self._lanes.values():
            of_kind = {mail.kind: self._binding(lane, mail.kind) for mail in lane.queue.heads()}
            long = {kind: each for kind, each in of_kind.items() if each and self._is_long(lane, each, until_us)}
            if long:
                yield from [(mail, long[mail.kind]) for mail in lane.queue.mails() if mail.kind in long]

    def _is_long(self, lane: LaneState, binding: Binding, until_us: int) -> bool:
        if binding.kind is BindingKind.CONNECTIONS:
            return lane.unreachable
        return binding.until_us is not None and binding.until_us > until_us

    def crowd(self, mail: ShapedMail) -> tuple[LaneState | None, int]:
        """The lane that a mail would wait on, if that is known, and how many wait there."""
        egress, waiting = self._places.crowd(mail)
        if egress is None:
            return None, waiting
        lane = self._lane(egress)
        return lane, len(lane.queue)

    def lane(self, key: LaneKey) -> LaneState:
        """A lane that the board has named."""
        return self._lanes[key]

    def lanes(self) -> Iterator[tuple[LaneState, Binding | None]]:
        """Every lane, and what binds it."""
        return ((lane, self._bindings.of_lane(key)) for key, lane in self._lanes.items())

    # mails of a lane, and lanes of a site

    def _heads(self, lane: LaneState) -> list[ShapedMail]:
        """The first mails of each kind that a lane may take, in the order in which they should begin."""
        heads = list(lane.queue.heads())
        for other in self._group(lane):
            if other is not lane and self._gives(other):
                heads += [mail for mail in other.queue.heads() if self._in_pool(lane.key.source, mail)]
        return sorted(heads, key=lambda mail: (-mail.priority, mail.due_us))

    def _waiting(self, lane: LaneState) -> int:
        return sum(len(each.queue) for each in self._group(lane) if each is lane or self._gives(each))

    def _gives(self, lane: LaneState) -> bool:
        """Whether other sources take from a lane's queue."""
        if self.actions.empty or not len(lane.queue):
            return False
        return self.actions.suspension(lane.targets.values()) is not None

    def _in_pool(self, source: str, mail: ShapedMail) -> bool:
        return source in pool_of(self._file.document, mail.kind.purpose)

    def _group(self, lane: LaneState) -> Iterator[LaneState]:
        return iter(self._groups[lane.key.group].values())

    def _lane(self, egress: Egress) -> LaneState:
        key = LaneKey(egress.source, egress.site, egress.provider or "")
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = LaneState(key, egress)
            self._groups.setdefault(key.group, {})[key] = lane
        return lane

    def _touch(self, key: LaneKey) -> None:
        """A lane is to be looked at; if others take from its queue, those as well."""
        lane = self._lanes[key]
        self._look.add(key)
        if self._gives(lane):
            purposes = {mail.kind.purpose for mail in lane.queue.heads()}
            for source in {name for purpose in purposes for name in pool_of(self._file.document, purpose)}:
                self._look.add(self._lane(self._places.egress(lane.egress.domain, source)).key)

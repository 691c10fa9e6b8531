"""One decision: looks at the lanes that were called, begins what may begin there, and notes what binds the rest. Pure.

What goes wrong with one mail is that mail's outcome: a lane that raises is tried with each of its mails alone.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from senders.shaping.actions import ActionBook
from senders.shaping.bindings import Binding, BindingKind
from senders.shaping.file import ShapingFile
from senders.shaping.gcra import PermitRequest
from senders.shaping.keys import ProviderKeys
from senders.shaping.lane_bindings import KindBindings, LaneBindings
from senders.shaping.lane_calls import LaneCalls
from senders.shaping.lane_queue import LaneQueue
from senders.shaping.lane_round import FindBook, LaneRound
from senders.shaping.lane_state import LaneKey, LaneState
from senders.shaping.lane_table import LaneTable
from senders.shaping.mail_places import MailPlaces
from senders.shaping.permits import ClockReading
from senders.shaping.pools import pool_of
from senders.shaping.resolution import Egress
from senders.shaping.ways import ShapedMail

_RATES = frozenset({BindingKind.MESSAGE_RATE, BindingKind.CONNECTION_RATE})


@dataclass(frozen=True, slots=True)
class LaneBegin:
    """A mail that begins now, on this lane."""

    lane: LaneKey
    mail: ShapedMail
    egress: Egress
    keys: ProviderKeys
    """Those of its way, with the values that rules have set."""


@dataclass(frozen=True, slots=True)
class FailedMail:
    """A mail that raises what nothing expects. It waits on no lane any more."""

    mail: ShapedMail
    error: Exception


@dataclass(slots=True)
class LaneDecision:
    """What to do now, and when to decide again at the latest."""

    begins: list[LaneBegin] = field(default_factory=list)
    opens: dict[LaneKey, int] = field(default_factory=dict)
    """Connections to open. They count as opening until the board hears of them."""
    permits: list[PermitRequest] = field(default_factory=list)
    lookups: Collection[str] = ()
    failed: list[FailedMail] = field(default_factory=list)
    wake_us: int | None = None


class LaneDecider:
    """Used by the board, once for each decision."""

    def __init__(
        self,
        file: ShapingFile,
        lanes: LaneTable,
        places: MailPlaces,
        calls: LaneCalls,
        bindings: LaneBindings,
        actions: ActionBook,
        book: FindBook,
        now: ClockReading,
    ) -> None:
        self._file = file
        self._lanes = lanes
        self._places = places
        self._calls = calls
        self._bindings = bindings
        self._actions = actions
        self._round = LaneRound(file, actions, book, now)
        self._now_us = now.now_us
        self._decision = LaneDecision()

    def decide(self) -> LaneDecision:
        """What may begin now, mails of a higher priority first."""
        for lane in self._in_order(self._calls.due(self._now_us)):
            self._look_at(lane)
        self._decision.permits = self._round.permits
        self._decision.lookups = self._places.lookups(self._now_us)
        times = (self._calls.next_us, self._places.next_lookup_us)
        self._decision.wake_us = min((at for at in times if at is not None), default=None)
        return self._decision

    def _in_order(self, keys: Iterable[LaneKey]) -> list[LaneState]:
        """These lanes, that of the highest priority first."""
        lanes = [lane for key in keys if (lane := self._lanes.get(key)) is not None]
        return lanes if len(lanes) < 2 else sorted(lanes, key=self._rank)

    def _rank(self, lane: LaneState) -> tuple[int, int, LaneKey]:
        ranks = [rank for each in self._lanes.givers(lane) if (rank := each.queue.rank) is not None]
        return *min(ranks, default=(0, 0)), lane.key

    def _look_at(self, lane: LaneState) -> None:
        lane.used = True
        try:
            self._work(lane)
        except Exception:  # noqa: BLE001  # the mail that raises it raises it again
            self._look_one_by_one(lane)

    def _look_one_by_one(self, lane: LaneState) -> None:
        """Work on a lane with each of its mails alone. A mail that raises alone failed."""
        givers = self._lanes.givers(lane)
        waiting = [(of, mail) for of in givers for mail in of.queue.mails()]
        for of in givers:
            of.queue = LaneQueue()
        self._work(lane)  # what raises without a mail is a defect
        kept = [(of, mail) for of, mail in waiting if self._keeps_waiting(lane, of, mail)]
        for of, mail in kept:
            of.queue.put(mail)
        self._calls.add(lane.key)

    def _keeps_waiting(self, lane: LaneState, of: LaneState, mail: ShapedMail) -> bool:
        """Work on a lane with one mail, of its own or of another lane. Returns whether it still waits afterwards."""
        try:
            of.queue.put(mail)
            self._work(lane)
            return len(of.queue) > 0
        except Exception as error:  # noqa: BLE001  # it becomes the mail's outcome
            self._places.remove(mail.id)
            self._decision.failed.append(FailedMail(mail, error))
            return False
        finally:
            of.queue = LaneQueue()

    def _work(self, lane: LaneState) -> None:
        """Begin what may begin on a lane, and note what binds the rest."""
        lane.refresh(self._actions, self._now_us)
        while (bindings := self._step(lane)) is None:
            pass
        self._bind(lane.key, bindings)

    def _step(self, lane: LaneState) -> KindBindings | None:
        """Begin one mail; or say what binds those that wait."""
        heads = self._heads(lane)
        if not heads:
            return {}
        if (stop := self._round.lane_binding(lane)) is not None:
            return {None: stop}
        if not lane.idle:
            return {None: self._connect(lane)}
        mail, bindings = self._next(lane, heads)
        if mail is None:
            return bindings
        self._begin(lane, mail)
        return None

    def _connect(self, lane: LaneState) -> Binding:
        """Open the connections that a lane may open. Returns what its mails wait for in any case."""
        opens, missing = self._round.connect(lane, self._waiting(lane))
        if opens:
            lane.opening += opens
            self._decision.opens[lane.key] = self._decision.opens.get(lane.key, 0) + opens
        return missing

    def _begin(self, lane: LaneState, mail: ShapedMail) -> None:
        begin = LaneBegin(lane.key, mail, self._places.egress_of(mail, lane.key.source), lane.keys)
        self._take_off(mail)
        lane.in_flight += 1
        self._decision.begins += [begin]

    def _take_off(self, mail: ShapedMail) -> None:
        """A mail waits no more."""
        key = self._places.remove(mail.id)
        if key is not None:
            self._lanes[key].queue.remove(mail.id)

    def _next(self, lane: LaneState, heads: list[ShapedMail]) -> tuple[ShapedMail | None, KindBindings]:
        """The mail that begins next, or what keeps the first of each kind waiting."""
        bindings: KindBindings = {}
        waiting = self._waiting(lane)
        for mail in heads:
            binding = self._round.mail_binding(lane, mail.kind, waiting)
            if binding is None:
                return mail, {}
            bindings.setdefault(mail.kind, binding)
        return None, bindings

    def _heads(self, lane: LaneState) -> list[ShapedMail]:
        """The first mails of each kind that a lane may take, in the order in which they should begin."""
        own, *others = self._lanes.givers(lane)
        heads = own.queue.heads()
        if not others:
            return heads
        for other in others:
            heads += [mail for mail in other.queue.heads() if self._in_pool(lane.key.source, mail)]
        return sorted(heads, key=lambda mail: (-mail.priority, mail.due_us))

    def _in_pool(self, source: str, mail: ShapedMail) -> bool:
        return source in pool_of(self._file.document, mail.kind.purpose)

    def _waiting(self, lane: LaneState) -> int:
        return sum(len(each.queue) for each in self._lanes.givers(lane))

    def _bind(self, key: LaneKey, bindings: KindBindings) -> None:
        """Note what binds a lane, and have it looked at again when any of it may have ended."""
        self._bindings.put(key, bindings)
        for binding in bindings.values():
            if binding.kind in _RATES:
                self._calls.on_grant(binding.name, key)
            if binding.until_us is not None:
                self._calls.at(max(binding.until_us, self._now_us + 1), key)

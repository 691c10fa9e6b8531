"""One decision: what keeps lanes and kinds of mail from beginning at a moment, and the permits that they want. Pure."""

from collections.abc import Callable

from senders.shaping.actions import ActionBook
from senders.shaping.bindings import Binding, BindingKind
from senders.shaping.document import ActionKind
from senders.shaping.file import ShapingFile
from senders.shaping.gcra import PacedLimit, PermitRequest
from senders.shaping.lane_limits import NamedRate, rates_of_kind, set_by
from senders.shaping.lane_state import LaneState
from senders.shaping.permits import ClockReading, PermitBook
from senders.shaping.ways import TrafficKind, target_words, targets_of

FindBook = Callable[[PacedLimit], PermitBook]


class LaneRound:
    """Used for one moment."""

    def __init__(self, file: ShapingFile, actions: ActionBook, book: FindBook, now: ClockReading) -> None:
        self._file = file
        self._actions = actions
        self._book = book
        self._now = now
        self._demand: dict[str, tuple[PacedLimit, int]] = {}
        """How many mails or connections wait for a permit of each limit."""

    @property
    def permits(self) -> list[PermitRequest]:
        """The permits to ask for."""
        asked = [self._book(limit).request(self._now, waiting) for limit, waiting in self._demand.values()]
        return [request for request in asked if request is not None]

    def lane_binding(self, lane: LaneState) -> Binding | None:
        """What keeps every mail of a lane from beginning, connections apart."""
        now_us = self._now.now_us
        if not self._actions.empty and (stop := self._action_binding(lane, now_us)) is not None:
            return stop
        if lane.rests_until_us > now_us:
            failed = f"{lane.failures} connections failed"
            rule = set_by(lane.egress, "consecutive_connection_failures_before_delay", lane.changes)
            return Binding(BindingKind.RESTING, str(lane.key), failed, "", lane.rests_until_us, rule)
        if lane.in_flight and self._on_probation(lane):
            return Binding(BindingKind.PROBATION, str(lane.key), "1 on its way", "1")
        return None

    def _action_binding(self, lane: LaneState, now_us: int) -> Binding | None:
        targets, name = lane.targets.values(), str(lane.key)
        held = self._actions.stops(targets, ActionKind.HOLD, now_us)
        if held is not None:
            return Binding(BindingKind.HELD, name, held.reply, "", held.until_us, held.rule)
        suspended = self._actions.stops(targets, ActionKind.SUSPEND, now_us)
        if suspended is not None:
            return Binding(BindingKind.SUSPENDED, name, suspended.reply, "", suspended.until_us, suspended.rule)
        return None

    def _on_probation(self, lane: LaneState) -> bool:
        return not self._actions.empty and self._actions.suspension(lane.targets.values()) is not None

    def connect(self, lane: LaneState, waiting: int) -> tuple[int, Binding]:
        """How many connections a lane opens for so many mails, and what they wait for in any case."""
        rule = set_by(lane.egress, "connection_limit", lane.changes)
        most = lane.keys.connection_limit or 1
        if lane.unreachable or self._on_probation(lane):
            most = 1
        if lane.refused_until_us > self._now.now_us:
            name = str(lane.key)
            observed = f"{lane.failures} connections failed" if lane.failures else "every slot is taken"
            return 0, Binding(BindingKind.CONNECTIONS, name, observed, str(most), lane.refused_until_us, rule)
        opens = 0
        while lane.open + lane.opening + opens < most and lane.opening + opens < waiting:
            rate = lane.connection_rate
            if rate is not None and not self._book(rate.paced).use(self._now):
                return opens, self._rate_binding(BindingKind.CONNECTION_RATE, rate, waiting - lane.opening - opens)
            opens += 1
        observed = f"{lane.open} open, {lane.opening + opens} opening"
        return opens, Binding(BindingKind.CONNECTIONS, str(lane.key), observed, str(most), None, rule)

    def mail_binding(self, lane: LaneState, kind: TrafficKind, waiting: int) -> Binding | None:
        """What keeps the mails of a kind waiting on a lane; None if one may begin: then its permits are used.

        The slowest limit is asked first, so that no permit of a fast one runs out while a slow one is awaited.
        """
        now_us = self._now.now_us
        if not self._actions.empty:
            held = self._actions.stops(targets_of(lane.egress, kind).values(), ActionKind.HOLD, now_us)
            if held is not None:
                return Binding(BindingKind.HELD, target_words(held.target), held.reply, "", held.until_us, held.rule)
        rates = [*lane.rates, *rates_of_kind(self._file, lane.egress, kind, self._actions, now_us)]
        rates.sort(key=lambda rate: -rate.paced.interval_us)
        books = [self._book(rate.paced) for rate in rates]
        for book, rate in zip(books, rates, strict=True):
            at_us = book.next_us(self._now)
            if at_us is None or at_us > now_us:
                return self._rate_binding(BindingKind.MESSAGE_RATE, rate, waiting)
        for book in books:
            book.use(self._now)
        return None

    def _rate_binding(self, kind: BindingKind, rate: NamedRate, waiting: int) -> Binding:
        """Notes that permits are wanted, and says when the next one may be used, if that is known before they come."""
        _, others = self._demand.get(rate.paced.name, (rate.paced, 0))
        self._demand[rate.paced.name] = rate.paced, others + waiting
        until_us = self._book(rate.paced).wake_us(self._now)
        known = until_us if until_us > self._now.now_us else None
        return Binding(kind, rate.paced.name, "spent", str(rate.rate), known, rate.set_by)

"""Puts jobs on their lanes, and returns to the ledger those that would wait there for long.

So a site that is limited, suspended or away fills its own share of the ready queue and nobody else's. A command that
is returned says in its ledger row what binds it, and comes back when its turn on the lane is expected: each waiting
command is read once for each such time, however many there are.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from schemas.addresses import ascii_domain
from schemas.vocabulary import DeliveryReason
from senders.delivery.lane_driver import LaneDriver
from senders.delivery.ready_queue import CAPACITY, DeliveryJob, ReadyQueue
from senders.delivery.way_holds import WayHolds
from senders.policy.pipeline import Delay
from senders.policy.switches import label
from senders.queue.ledger import CommandStatus
from senders.shaping.bindings import OPEN_END_US, Binding, BindingKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_state import LaneState
from senders.shaping.ways import ShapedMail, TrafficKind

LONG_US = 5 * SECOND_US
"""Mails that wait no longer stay in memory."""
LOOKED_UP = timedelta(seconds=5)
"""When a command is taken again whose domain is not known, and whose lane may be drained."""
ASK_AGAIN = timedelta(minutes=1)
"""When a command is taken again whose domain is not found."""
CONNECT_AGAIN = timedelta(seconds=15)
"""When a command is taken again whose servers do not answer: its lane tries them only while mails wait there."""
LONGEST_BOOKING = timedelta(minutes=15)
"""So that a limit that is lifted is used soon."""
USUAL_PACE = 10.0
"""Mails a second of a lane whose limits are not known yet."""
MAX_BOOKED = 10_000
MAX_OBSERVED = 200

_RATES = (BindingKind.MESSAGE_RATE, BindingKind.CONNECTION_RATE)
_TRIED_AGAIN = {BindingKind.LOOKUP: ASK_AGAIN, BindingKind.CONNECTIONS: CONNECT_AGAIN}


class LaneIntake:
    """Used in the event loop's thread only. On `one_lane` nothing is returned: nobody else waits behind it."""

    def __init__(
        self,
        driver: LaneDriver,
        ready: ReadyQueue,
        from_domain: str,
        *,
        one_lane: bool,
        holds: WayHolds | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._driver = driver
        self._board = driver.board
        self._ready = ready
        self._from_domain = from_domain
        self._one_lane = one_lane
        self._holds = holds
        self._clock = clock
        self._booked: dict[str, datetime] = {}
        """When the last mail that was returned is expected to have its turn, by lane."""

    def admit(self, job: DeliveryJob) -> Delay | None:
        """Let a job wait on its lane, or say until when it waits in the ledger, because the lane's share is used up."""
        mail = self._mail_of(job)
        if self._holds is not None and self._holds.drains and (delay := self._drained(job, mail)) is not None:
            return delay
        if not self._one_lane and (delay := self._crowded(job, mail)) is not None:
            return delay
        self._ready.put(job)
        try:
            self._driver.add(mail)
        except BaseException:
            self._take_out(mail.id)
            raise
        return None

    def returned(self) -> list[tuple[CommandStatus, Delay]]:
        """The commands that nothing lets begin soon. From now on they wait in the ledger."""
        now_us = self._driver.now_us()
        if self._one_lane or not now_us:
            return []
        answers = []
        for mail, binding in list(self._board.long_bound(now_us + LONG_US)):
            job = self._ready.waiting[mail.id]
            answers.append((job.due.status, self._delay(job, mail, binding, now_us)))
            self._take_out(mail.id)
        return answers

    def drop(self, partitions: Collection[int]) -> None:
        """Forget the waiting commands of partitions that another worker has now."""
        for command_id in [id_ for id_, job in self._ready.waiting.items() if job.due.partition in partitions]:
            self._take_out(command_id)

    def _take_out(self, command_id: str) -> None:
        self._driver.remove(command_id)
        self._ready.take_out(command_id)

    def _mail_of(self, job: DeliveryJob) -> ShapedMail:
        command, address = job.due.command, job.request.address
        assert address is not None, "policy lets no command pass without an address"
        kind = TrafficKind(command.trigger, command.purpose, self._from_domain)
        due_us = round(job.due.due_at.timestamp() * SECOND_US)
        last, blocked = job.due.last_source, job.due.blocked
        return ShapedMail(command.id, _domain(address), kind, command.priority, due_us, last, blocked)

    def _drained(self, job: DeliveryJob, mail: ShapedMail) -> Delay | None:
        """Until when a job waits whose lane takes only what was admitted before, or may be such a lane."""
        assert self._holds is not None, "asked for before"
        if not self._board.knows(mail.domain):
            self._driver.look_for(mail.domain)
            return _delay(job, Binding(BindingKind.LOOKUP, mail.domain), self._clock() + LOOKED_UP)
        lane, _ = self._board.crowd(mail)
        switch = None if lane is None else self._holds.drain(lane.key, job.due.admitted_at)
        if switch is None:
            return None
        expires_at = job.due.command.expires_at
        until = expires_at if switch.until is None else min(switch.until, expires_at)
        return Delay(DeliveryReason.PAUSED, until, label(switch))

    # a lane's share

    def _crowded(self, job: DeliveryJob, mail: ShapedMail) -> Delay | None:
        lane, waiting = self._board.crowd(mail)
        if waiting < CAPACITY or (waiting < 2 * CAPACITY and lane is not None and _overtakes(lane, mail)):
            return None
        name = mail.domain if lane is None else str(lane.key)
        now = self._clock()
        behind = Binding(BindingKind.BEHIND, name, f"{waiting} wait", str(CAPACITY))
        first = now + min(timedelta(seconds=CAPACITY / 2 / _pace(lane)), LONGEST_BOOKING)
        return _delay(job, behind, self._book(name, first, lane, now))

    def _delay(self, job: DeliveryJob, mail: ShapedMail, binding: Binding, now_us: int) -> Delay:
        now = self._clock()
        until = now if binding.until_us is None else now + timedelta(microseconds=binding.until_us - now_us)
        if binding.kind in _TRIED_AGAIN:
            until = max(until, now + _TRIED_AGAIN[binding.kind])
        elif binding.kind is BindingKind.NO_POOL:
            until = now + LONGEST_BOOKING
        elif binding.kind in _RATES:
            lane, _ = self._board.crowd(mail)
            until = self._book(binding.name, until, lane, now)
        return _delay(job, binding, until)

    def _book(self, name: str, first: datetime, lane: LaneState | None, now: datetime) -> datetime:
        """The next turn on a lane, the first one at `first`. None is after the end of a limit that actions set."""
        latest = min([now + LONGEST_BOOKING, *_ends(lane, now)])
        first = min(first, latest)
        booked = self._booked.pop(name, None)
        if len(self._booked) >= MAX_BOOKED:
            del self._booked[next(iter(self._booked))]
        turn = first if booked is None else max(first, booked + timedelta(seconds=1 / _pace(lane)))
        self._booked[name] = min(turn, latest)
        return self._booked[name]


def _domain(address: str) -> str:
    """The domain of an address in A-labels. What cannot be one stays as it is: it takes no mail."""
    domain = address.rpartition("@")[2].lower()
    if domain.isascii():
        return domain
    try:
        return ascii_domain(domain).lower()
    except ValueError:
        return domain


def _overtakes(lane: LaneState, mail: ShapedMail) -> bool:
    """Whether a mail comes before all that wait on a lane."""
    return all(head.priority < mail.priority for head in lane.queue.heads())


def _pace(lane: LaneState | None) -> float:
    """How many mails of a lane begin in a second, at most."""
    rates = [] if lane is None else [each.rate.count / each.rate.period_s for each in lane.rates]
    return min(rates, default=USUAL_PACE)


def _ends(lane: LaneState | None, now: datetime) -> list[datetime]:
    """When keys that actions set on a lane have their old values again."""
    ends_us = [] if lane is None else [min(each.until_us, OPEN_END_US) for each in lane.changes.values()]
    ends = [datetime.fromtimestamp(end_us / SECOND_US, UTC) for end_us in ends_us]
    return [end for end in ends if end > now]


def _delay(job: DeliveryJob, binding: Binding, until: datetime) -> Delay:
    return Delay(DeliveryReason.LIMITED, min(until, job.due.command.expires_at), words(binding))


def words(binding: Binding) -> str:
    """What binds, observed against limit, until when and by which rule or key."""
    parts = [f"{binding.kind} {binding.name}".rstrip()]
    if binding.observed:
        parts.append(binding.observed[:MAX_OBSERVED] + (f" of {binding.limit}" if binding.limit else ""))
    elif binding.limit:
        parts.append(f"limit {binding.limit}")
    if binding.until_us is not None and binding.until_us < OPEN_END_US:
        parts.append(f"until {datetime.fromtimestamp(binding.until_us // SECOND_US, UTC):%Y-%m-%d %H:%M:%S} UTC")
    if binding.set_by:
        parts.append(f"by {binding.set_by}")
    return "; ".join(parts)

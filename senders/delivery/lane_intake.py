"""Puts jobs on their lanes, and returns to the ledger those that would wait there for long.

So a site that is limited, suspended or away fills its own share of the ready queue and nobody else's. A command that
is returned says in its ledger row what binds it, and stands in the line of that lane or limit until its turn comes.
Nobody guesses when that is, so its row is not written again before, however long the line and however slow the lane.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta

from schemas.addresses import ascii_domain
from schemas.commands import SendCommand
from schemas.vocabulary import DeliveryReason
from senders.delivery.lane_driver import LaneDriver
from senders.delivery.lane_lines import LaneLines, Line
from senders.delivery.ready_queue import CAPACITY, DeliveryJob, ReadyQueue
from senders.delivery.way_holds import WayHolds
from senders.policy.pipeline import Delay
from senders.policy.switches import label
from senders.queue.ledger import CommandStatus, DueStatus
from senders.shaping.bindings import OPEN_END_US, Binding, BindingKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_state import LaneState
from senders.shaping.quantities import SendRate
from senders.shaping.ways import ShapedMail, TrafficKind

LONG_US = 5 * SECOND_US
"""Mails that wait no longer stay in memory."""
LOOKED_UP = timedelta(seconds=5)
"""When a command is taken again whose domain is not known, and whose lane may be drained."""
ASK_AGAIN = timedelta(minutes=1)
"""How long the line of a domain rests that is not found."""
CONNECT_AGAIN = timedelta(seconds=15)
"""How long the line of a lane rests whose servers do not answer: it tries them only while mails wait there."""
LONGEST_REST = timedelta(minutes=15)
"""How long a line at a limit rests, or one whose purpose no pool takes, before its head is asked again."""
MAX_OBSERVED = 200

_RATES = (BindingKind.MESSAGE_RATE, BindingKind.CONNECTION_RATE)
_TRIED_AGAIN = {BindingKind.LOOKUP: ASK_AGAIN, BindingKind.CONNECTIONS: CONNECT_AGAIN}


class LaneIntake:
    """Used in the event loop's thread only. On `one_lane` nothing is returned: nobody else waits behind it."""

    def __init__(
        self,
        driver: LaneDriver,
        ready: ReadyQueue,
        from_domain: Callable[[SendCommand], str],
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
        self._lines = LaneLines(self._board.find_lane, self._board.lookups, ready.from_line)
        self.line_order = self._lines.order
        self.let_go = self._lines.let_go

    def admit(self, job: DeliveryJob) -> Delay | None:
        """Let a job wait on its lane; or say that it waits in the ledger, because the lane's share is used up."""
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

    # lines in the ledger

    def rests_for(self, line: int) -> Binding | None:
        """What the commands of a line wait for, if this worker knows it and lets the line rest."""
        return self._lines.rests_for(line, self._clock())

    def lines_found(self, numbers: Collection[int]) -> None:
        """These lines have commands in the ledger."""
        self._lines.found(numbers)

    def limits_changed(self) -> None:
        """Other limits or holds are in force: what waits in lines is asked again."""
        self._lines.go_on()

    def wanted(self, room: int) -> Mapping[int, int]:
        """How many of the first commands of which lines may come now."""
        return self._lines.wanted(room, self._clock())

    def came(self, wanted: Mapping[int, int], heads: Collection[tuple[int, DueStatus]]) -> None:
        """These came of those wanted; each is admitted next."""
        self._lines.came(wanted, heads)

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
        kind = TrafficKind(command.trigger, command.purpose, self._from_domain(command))
        due_us = round(job.due.due_at.timestamp() * SECOND_US)
        last, blocked = job.due.last_source, job.due.blocked
        return ShapedMail(command.id, _domain(address), kind, command.priority, due_us, last, blocked)

    def _drained(self, job: DeliveryJob, mail: ShapedMail) -> Delay | None:
        """Until when a job waits whose lane takes only what was admitted before, or may be such a lane."""
        assert self._holds is not None, "asked for before"
        if not self._board.knows(mail.domain):
            self._driver.look_for(mail.domain)
            until = min(self._clock() + LOOKED_UP, job.due.command.expires_at)
            return Delay(DeliveryReason.LIMITED, until, words(Binding(BindingKind.LOOKUP, mail.domain)))
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
        name = mail.domain if lane is None else str(lane.key)
        if waiting < CAPACITY:
            if job.due.behind is not None or not self._lines.is_before(name, mail.priority):
                return None
        elif waiting < 2 * CAPACITY and lane is not None and _overtakes(lane, mail):
            return None
        behind = Binding(BindingKind.BEHIND, name, f"{waiting} wait", str(CAPACITY))
        return self._delay(job, mail, behind, 0)

    def _delay(self, job: DeliveryJob, mail: ShapedMail, binding: Binding, now_us: int) -> Delay:
        """Let a job wait in the line of what binds it, which rests until that may have ended."""
        now, (lane, _) = self._clock(), self._board.crowd(mail)
        name, line = binding.name, Line(priority=mail.priority, rests_for=binding)
        if binding.until_us is not None:
            line.rests_until = now + timedelta(microseconds=min(binding.until_us, OPEN_END_US) - now_us)
        if binding.kind in _TRIED_AGAIN:
            line.rests_until = max(line.rests_until, now + _TRIED_AGAIN[binding.kind])
        if binding.kind in _RATES:
            line.pace = _pace(binding)
            line.rests_until = min([line.rests_until, now + LONGEST_REST, *_ends(lane)])
        elif binding.kind is BindingKind.NO_POOL:
            line.rests_until = now + LONGEST_REST
        elif lane is None:
            line.domain = mail.domain
        elif binding.kind is not BindingKind.HELD or name == str(lane.key):
            name, line.lane = str(lane.key), lane.key
        number = self._lines.join(name, line, job.due)
        return Delay(DeliveryReason.LIMITED, job.due.command.expires_at, self._why(binding, number), number)

    def _why(self, binding: Binding, number: int) -> str:
        """What binds; of what only stands behind others, also what those wait for."""
        first = self.rests_for(number) if binding.kind is BindingKind.BEHIND else None
        return words(binding) if first is None else f"{words(binding)}; {words(first)}"


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


def _pace(binding: Binding) -> float | None:
    """How many mails a second a limit lets begin."""
    rate = SendRate.parse(binding.limit) if binding.limit else None
    return None if rate is None else rate.count / rate.period_s


def _ends(lane: LaneState | None) -> list[datetime]:
    """When keys that actions set on a lane have their old values again; in the past, if nobody has noticed yet."""
    ends_us = [] if lane is None else [min(each.until_us, OPEN_END_US) for each in lane.changes.values()]
    return [datetime.fromtimestamp(end_us / SECOND_US, UTC) for end_us in ends_us]


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

"""Recorded attempts and replies against a shaping file: what it would have done with them. Pure.

Each attempt is taken as it was: at its time, from its source. What servers would have said to fewer mails cannot be
known; so this counts which attempts the file would have held up, and what its rules would have done.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from senders.shaping.actions import ActionBook
from senders.shaping.automation import ReplyWatch, SeenReply
from senders.shaping.document import ActionKind, SmtpState
from senders.shaping.file import ShapingFile
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_limits import NamedRate, keys_now, rates_of_kind, rates_of_lane
from senders.shaping.pools import DEFAULT_SOURCE
from senders.shaping.resolution import Egress, resolve
from senders.shaping.sites import Destination
from senders.shaping.ways import TrafficKind, targets_of

ShortText = Annotated[str, Field(max_length=256)]
MAX_EGRESSES = 100_000


class RecordedAttempt(BaseModel):
    """One mail transaction and how it ended.

    `code` is 0 if no reply came; below 400 it means that the server took the mail.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: AwareDatetime
    domain: ShortText
    mx: Annotated[tuple[ShortText, ...], Field(max_length=1000)] = ()
    trigger: ShortText = ""
    purpose: ShortText = ""
    from_domain: ShortText = ""
    source: ShortText = DEFAULT_SOURCE
    state: SmtpState = SmtpState.DOT
    code: Annotated[int, Field(ge=0, le=999)] = 250
    enhanced: ShortText | None = None
    text: Annotated[str, Field(max_length=4096)] = ""

    @property
    def reply(self) -> str:
        """The reply as rules see it."""
        return " ".join(word for word in (str(self.code), self.enhanced, self.text) if word)


@dataclass(slots=True)
class SimulatedLane:
    """What a file would have done with the attempts of one lane."""

    attempts: int = 0
    suspended: int = 0
    """Made while the file would have had the lane suspended."""
    held: int = 0
    """Made while the file would have held such mails."""
    late: int = 0
    """Made sooner than a rate of the file allows, if each had been made at the first moment that it does allow."""
    longest_wait_s: float = 0.0


@dataclass(slots=True)
class SimulatedLimit:
    """How often a rate of a file would have made a mail wait, and for how long at most."""

    rate: str
    set_by: str
    late: int = 0
    longest_wait_s: float = 0.0


@dataclass(slots=True)
class Simulation:
    """What a file would have done."""

    lanes: dict[str, SimulatedLane] = field(default_factory=dict)
    limits: dict[str, SimulatedLimit] = field(default_factory=dict)
    """The rates that would have made mails wait, by name."""
    triggered: dict[str, int] = field(default_factory=dict)
    """How often each rule would have triggered."""
    first: dict[str, datetime] = field(default_factory=dict)


class Simulator:
    """Takes attempts in the order of their times."""

    def __init__(self, file: ShapingFile) -> None:
        self._file = file
        self._actions = ActionBook()
        self._watch = ReplyWatch()
        self._arrivals: dict[str, float] = {}
        self._egresses: dict[tuple[str, tuple[str, ...], str], Egress] = {}
        self.result = Simulation()

    def run(self, attempts: Iterable[RecordedAttempt]) -> Simulation:
        """All attempts."""
        for attempt in attempts:
            self.take(attempt)
        return self.result

    def take(self, attempt: RecordedAttempt) -> None:
        """One attempt and its reply."""
        at_us = round(attempt.at.timestamp() * SECOND_US)
        self._actions.forget(at_us)
        egress = self._egress(attempt)
        kind = TrafficKind(attempt.trigger, attempt.purpose, attempt.from_domain)
        # without the provider: two files that are compared may call it differently
        lane = self.result.lanes.setdefault(f"{egress.source} {egress.site}", SimulatedLane())
        lane.attempts += 1
        targets = targets_of(egress, kind).values()
        if self._actions.stops(targets, ActionKind.HOLD, at_us):
            lane.held += 1
        elif self._actions.stops(targets, ActionKind.SUSPEND, at_us):
            lane.suspended += 1
        elif wait_us := self._wait_us(egress, kind, at_us):
            lane.late += 1
            lane.longest_wait_s = max(lane.longest_wait_s, wait_us / SECOND_US)
        self._answer(egress, kind, attempt, at_us)

    def _egress(self, attempt: RecordedAttempt) -> Egress:
        way = attempt.domain, attempt.mx, attempt.source
        found = self._egresses.get(way)
        if found is None:
            if len(self._egresses) >= MAX_EGRESSES:
                self._egresses.clear()
            destination = Destination.of(attempt.domain, attempt.mx)
            found = self._egresses[way] = resolve(self._file, destination, attempt.source)
        return found

    def _wait_us(self, egress: Egress, kind: TrafficKind, at_us: int) -> float:
        """How long the attempt would have waited for the rates of the file."""
        keys, changes = keys_now(egress, self._actions, at_us)
        rates = rates_of_lane(egress, keys, changes)
        rates += rates_of_kind(self._file, egress, kind, self._actions, at_us)
        free_us = {
            each.paced.name: self._arrivals.get(each.paced.name, 0.0) - each.paced.tolerance_us for each in rates
        }
        begins_us = max([float(at_us), *free_us.values()])
        for each in rates:
            arrival_us = max(self._arrivals.get(each.paced.name, 0.0), begins_us)
            self._arrivals[each.paced.name] = arrival_us + each.paced.interval_us
        wait_us = begins_us - at_us
        if wait_us:
            binding = next(each for each in rates if free_us[each.paced.name] == begins_us)
            self._bound(binding, wait_us / SECOND_US)
        return wait_us

    def _bound(self, rate: NamedRate, wait_s: float) -> None:
        limit = self.result.limits.setdefault(rate.paced.name, SimulatedLimit(str(rate.rate), rate.set_by))
        limit.late += 1
        limit.longest_wait_s = max(limit.longest_wait_s, wait_s)

    def _answer(self, egress: Egress, kind: TrafficKind, attempt: RecordedAttempt, at_us: int) -> None:
        if not attempt.code:
            return
        if attempt.code < 400:
            self._actions.taken(targets_of(egress, None).values(), at_us)
            return
        found = self._watch.see(egress, kind, SeenReply(attempt.reply, attempt.state, at_us))
        for rule in dict.fromkeys(action.rule for action in found):
            self.result.triggered[rule] = self.result.triggered.get(rule, 0) + 1
            self.result.first.setdefault(rule, attempt.at)
        for action in found:
            self._actions.add(action)

"""A plausible programme of triggers and its readers, made from a seed: the decisions and outcomes of twelve weeks.

`docs/analytics.md` shows its answers. It has what analysts look for: an experiment with a winner and one without, two
holdouts, machines that click, a provider that refuses for three days, and mails that wait for the morning. The same
seed gives the same facts.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from itertools import count

from perf.readers import Reader, ReaderCrowd
from schemas.commands import command_id
from schemas.decisions import Decision
from schemas.digests import digest
from schemas.outcomes import Outcome
from schemas.vocabulary import DecisionOutcome, Reason
from triggers.rules.assignment import in_holdout, variant

FIRST_DAY = datetime(2026, 3, 2, tzinfo=UTC)
DAYS = 84
USERS = 5_000
SEED = 17
GOAL_WITHIN = timedelta(days=7)
_HOURS = (1, 1, 1, 1, 1, 2, 3, 5, 7, 8, 9, 10, 9, 8, 8, 8, 8, 9, 11, 13, 12, 9, 5, 2)
"""How much happens at each hour of the day."""
_QUIET_FROM, _QUIET_TO = 21, 8
_CAP, _CAP_DAYS = 4, timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Campaign:
    """A trigger: how often it begins, how its mails are read, and how many buy with and without them."""

    name: str
    purpose: str
    steps: Mapping[str, timedelta]
    entries_a_day: float
    opens: float
    clicks: float
    """Of those who open."""
    buys: float
    """Anyway."""
    buys_after_click: float
    leaves: float
    """Who unsubscribe, of those who open."""
    holdout: float = 0
    variants: Mapping[str, float] = field(default_factory=dict)
    expires: timedelta = timedelta(days=2)
    days: tuple[int, ...] = tuple(range(7))


_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
CAMPAIGNS = (
    Campaign("cart-abandoned", "marketing", {"reminder": _HOUR, "last-call": _DAY}, 62, 0.42, 0.24, 0.05, 0.33,
             leaves=0.006, holdout=20, variants={"plain": 50, "with_photo": 50}),
    Campaign("price-drop", "marketing", {"alert": timedelta()}, 34, 0.38, 0.22, 0.02, 0.14, leaves=0.004,
             expires=timedelta(hours=6)),
    Campaign("review-request", "marketing", {"ask": 6 * _DAY}, 18, 0.30, 0.10, 0, 0.02, leaves=0.005),
    Campaign("thank-you", "transactional", {"receipt": timedelta()}, 36, 0.66, 0.12, 0, 0, leaves=0.0005),
    Campaign("weekly-picks", "marketing", {"picks": timedelta()}, 90, 0.24, 0.14, 0.012, 0.09, leaves=0.012,
             variants={"long": 50, "short": 50}, days=(0, 3)),
    Campaign("welcome", "marketing", {"hello": timedelta(minutes=1), "tips": 2 * _DAY, "offer": 5 * _DAY},
             16, 0.55, 0.26, 0.03, 0.16, leaves=0.008),
    Campaign("win-back", "marketing", {"we-miss-you": timedelta()}, 14, 0.17, 0.09, 0.01, 0.12, leaves=0.05,
             holdout=10),
)  # fmt: skip


@dataclass(slots=True)
class _Goal:
    """A send or holdout that a purchase may still be counted for."""

    campaign: Campaign
    occurrence: str
    step: str
    command: str | None
    at: datetime


@dataclass(slots=True)
class _User:
    reader: Reader
    consents: bool
    mailed: list[datetime] = field(default_factory=list)
    goals: list[_Goal] = field(default_factory=list)
    bought: datetime | None = None


class Programme:
    """Runs the programme once, in the order of time. `decisions` and `outcomes` are its facts."""

    def __init__(self, seed: int = SEED, days: int = DAYS) -> None:
        self._random = random.Random(seed)
        self._readers = ReaderCrowd(self._random)
        self._users: dict[str, _User] = defaultdict(self._person)
        self._queue: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._numbers = count()
        self.decisions: list[Decision] = []
        self.outcomes: list[Outcome] = []
        for campaign in CAMPAIGNS:
            for day in range(days):
                self._plan_day(campaign, FIRST_DAY + _DAY * day, day)
        self.end = FIRST_DAY + _DAY * days
        while self._queue and self._queue[0][0] < self.end:
            at, _, happens = heappop(self._queue)
            happens(at)

    def _person(self) -> _User:
        return _User(self._readers.reader(), self._random.random() < 0.93)

    def _at(self, at: datetime, happens: Callable[[datetime], None]) -> None:
        heappush(self._queue, (at, next(self._numbers), happens))

    def _plan_day(self, campaign: Campaign, day: datetime, number: int) -> None:
        if day.weekday() not in campaign.days:
            return
        growth = 1 + 0.004 * number
        for _ in range(round(self._random.gauss(campaign.entries_a_day * growth, campaign.entries_a_day**0.5))):
            [hour] = self._random.choices(range(24), _HOURS)
            at = day + timedelta(hours=hour, seconds=self._random.uniform(0, 3600))
            user_id = f"u{int(USERS * self._random.random() ** 1.5):05}"
            self._at(at, lambda at, user_id=user_id: self._begin(campaign, user_id, at))  # type: ignore[misc]

    def _begin(self, campaign: Campaign, user_id: str, at: datetime) -> None:
        occurrence = f'["e{next(self._numbers)}"]'
        for step, wait in campaign.steps.items():
            self._at(at + wait, lambda at, step=step: self._decide(campaign, user_id, occurrence, step, at, at))  # type: ignore[misc]
        if self._random.random() < campaign.buys:
            self._buys_later(user_id, at)

    def _decide(
        self, campaign: Campaign, user_id: str, occurrence: str, step: str, due: datetime, at: datetime
    ) -> None:
        user = self._users[user_id]
        if user.bought is not None and at - user.bought < _DAY and campaign.buys:
            return  # `unless`: who has bought gets no further mail
        outcome, reason = self._gates(campaign, user_id, user, due, at)
        command = command_id(campaign.name, user_id, occurrence, step)
        arm = variant(campaign.name, user_id, campaign.variants) if campaign.variants else None
        inputs: dict[str, object] = {"due": due.isoformat(), "zone": "UTC", **({"variant": arm} if arm else {})}
        sent = command if outcome is DecisionOutcome.SEND else None
        self._decided(campaign, user_id, occurrence, step, outcome, reason, at, inputs, sent)
        if outcome is DecisionOutcome.DEFER:
            morning = at.replace(hour=_QUIET_TO, minute=0, second=0) + (_DAY if at.hour >= _QUIET_FROM else timedelta())
            self._at(morning, lambda at: self._decide(campaign, user_id, occurrence, step, due, at))
        elif outcome in (DecisionOutcome.SEND, DecisionOutcome.HELD_OUT):
            user.goals.append(_Goal(campaign, occurrence, step, sent, at))
            if sent is not None:
                user.mailed.append(at)
                self._deliver(campaign, user_id, user, step, sent, arm, at)

    def _gates(
        self, campaign: Campaign, user_id: str, user: _User, due: datetime, at: datetime
    ) -> tuple[DecisionOutcome, Reason | None]:
        if campaign.purpose == "transactional":
            return DecisionOutcome.SEND, None
        if not user.consents:
            return DecisionOutcome.DROP, Reason.NO_CONSENT
        if at == due and self._random.random() < 0.05:
            return DecisionOutcome.DROP, Reason.CONDITION
        if at - due > campaign.expires:
            return DecisionOutcome.DROP, Reason.EXPIRED
        if not _QUIET_TO <= at.hour < _QUIET_FROM:
            return DecisionOutcome.DEFER, Reason.QUIET
        if sum(at - mailed < _CAP_DAYS for mailed in user.mailed) >= _CAP:
            return DecisionOutcome.DROP, Reason.CAP
        if in_holdout(campaign.name, user_id, campaign.holdout):
            return DecisionOutcome.HELD_OUT, Reason.HOLDOUT
        return DecisionOutcome.SEND, None

    def _deliver(
        self, campaign: Campaign, user_id: str, user: _User, step: str, command: str, arm: str | None, at: datetime
    ) -> None:
        about = {"command_id": command, "user_id": user_id, "trigger": campaign.name, "purpose": campaign.purpose,
                 "step": step, "variant": arm, "decided_at": at}  # fmt: skip
        better = 1.7 if arm == "with_photo" else 1.0
        clicked = False
        for fact in self._readers.life_of_a_mail(
            user.reader, at, campaign.opens, campaign.clicks * better, campaign.leaves
        ):
            if fact.time >= FIRST_DAY + _DAY * DAYS:
                continue
            identity = digest([command, fact.kind, fact.time.timestamp(), next(self._numbers)])
            self.outcomes.append(Outcome.model_validate(about | fact.fields() | {"id": identity}))
            if fact.unsubscribes:
                user.consents = False
            if fact.by_reader and not clicked:
                clicked = True
                if self._random.random() < campaign.buys_after_click:
                    self._buys_later(user_id, fact.time)

    def _buys_later(self, user_id: str, at: datetime) -> None:
        later = timedelta(minutes=3 + self._random.expovariate(1 / 600))
        self._at(at + later, lambda at: self._buy(user_id, at))

    def _buy(self, user_id: str, at: datetime) -> None:
        user = self._users[user_id]
        event = f"e{next(self._numbers)}"
        user.bought = at
        for goal in user.goals:
            if at - goal.at <= GOAL_WITHIN and goal.campaign.buys:
                inputs = {"sent_at": goal.at.isoformat(), "held_out": goal.command is None}
                self._decided(
                    goal.campaign, user_id, goal.occurrence, goal.step, DecisionOutcome.GOAL, None, at, inputs,
                    goal.command, event,
                )  # fmt: skip
        user.goals = []

    def _decided(
        self, campaign: Campaign, user_id: str, occurrence: str, step: str, outcome: DecisionOutcome,
        reason: Reason | None, at: datetime, inputs: dict[str, object], command: str | None, event: str = "",
    ) -> None:  # fmt: skip
        what = event or reason
        self.decisions.append(
            Decision(
                id=digest([campaign.name, user_id, occurrence, step, outcome, what, at.timestamp()]),
                trigger=campaign.name, rule_hash="1" * 32, user_id=user_id, occurrence=occurrence, step=step,
                outcome=outcome, reason=reason, event_ids=[event or occurrence[2:-2]], inputs=inputs, decided_at=at,
                command_id=command,
            )
        )  # fmt: skip

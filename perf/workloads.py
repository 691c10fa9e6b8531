"""The workload of the measurements: seeded events and profiles of a shop, with known shares that rules read.

Users browse all the time, evenly or by Zipf's law, and no rule reads that. Some users begin a session with a purpose:
three or four events of one kind, or only one or two. Those events are 5 % of all. The third event of a session leads to
a send, except for wish sessions and for users who got one already: 1 % of all events.
"""

import heapq
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any, ClassVar, Literal, Self

import orjson

from schemas.profiles import Consent, Profile

Distribution = Literal["uniform", "zipf"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "zipf")

KINDS = {
    "shop": ("cart_updated", "cart_updated", "checkout_started", "order_completed"),
    "trial": ("plan_viewed", "trial_started", "feature_used", "seat_added"),
    "care": ("ticket_opened", "article_read", "ticket_rated", "refund_requested"),
    "wish": ("wishlist_added", "wishlist_added", "wishlist_added", "wishlist_shared"),
}
"""The events of each kind of session."""
KIND_WEIGHTS = (45, 25, 20, 10)
MATCHING = frozenset(name for events in KINDS.values() for name in events)
BROWSING = ("page_viewed", "product_viewed", "search_made", "list_scrolled", "video_played")
POINTS = {name: 0.5 if name in KINDS["wish"] else 1.0 for name in MATCHING}

MATCH_SHARE = 0.05
CUT_SHORT = 1.02
"""Compensates for sessions that the end of the run cuts short."""
LONG_SHARE: Mapping[Distribution, float] = {"uniform": 0.64, "zipf": 0.66}
"""The share of sessions that reach the third event, chosen so that 1 % of all events lead to a send."""
HOT_SHOPPERS = 0.2
"""Under zipf, how many sessions are begun by one who browses a lot; the others by anybody. A cap meets the former."""
ZIPF_EXPONENT = 0.99
"""As in the Yahoo! Cloud Serving Benchmark."""
SPAN_MS = 10_000
"""The span of the events' own times. They are appended at these times, so that event time and partition clock agree and
delays of seconds fall due during the run."""
GAP_MS = 100
"""The longest wait between two events of a session."""
REST_MS = 2_000
"""Between two sessions of one user. A count over that time sees one session."""
ZONES = ("Europe/Berlin", "Europe/London", "America/New_York", "Asia/Tokyo", "Australia/Sydney")
_DRAWS = 20


@dataclass(frozen=True, slots=True)
class WorkloadEvent:
    """One event before it is encoded."""

    number: int
    type: str
    user: int
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """The events of one run, from `start_ms` over `span_ms`. The same fields give the same bytes."""

    name: ClassVar[str] = "shop"
    events: int
    users: int
    distribution: Distribution = "uniform"
    seed: int = 1
    start_ms: int = 0
    span_ms: int = SPAN_MS

    def from_now(self) -> Self:
        """The same events, beginning at this moment."""
        return replace(self, start_ms=time.time_ns() // 1_000_000)

    def places(self, ms: int) -> int:
        """How many events happen in that time."""
        return max(1, self.events * ms // self.span_ms)

    def records(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each event as a backend service publishes it.

        The value is a copy: bytes of orjson take 4 KiB each as long as they are kept, 13 GiB for 3 million.
        """
        names = [user_id(user) for user in range(self.users)]
        start_ms, step_ms = self.start_ms, self.span_ms / self.events
        for what in self.events_in_order():
            name = names[what.user]
            event = {
                "id": f"{self.seed}-{what.number:08d}",
                "type": what.type,
                "user_id": name,
                "time": datetime.fromtimestamp((start_ms + round(what.number * step_ms)) / 1000, UTC),
                "properties": what.properties,
                "source": "web",
            }
            yield name.encode(), b"%b" % orjson.dumps(event)

    def events_in_order(self) -> Iterator[WorkloadEvent]:
        """The events in order."""
        chance = random.Random(f"{self.seed}/{self.distribution}")
        crowd = _Crowd(self, chance)
        browsers = crowd.browsers(self.events)
        sessions = _Sessions(self, chance, crowd)
        for number in range(self.events):
            yield sessions.next(number) or _browsing(number, next(browsers), chance)

    def drawn_users(self, chance: random.Random) -> Iterator[int]:
        """The user of each event, by the distribution."""
        return _Crowd(self, chance).browsers(self.events)

    def profiles(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each user's profile, who consents to marketing."""
        given = datetime.fromtimestamp((self.start_ms - 30 * 86_400_000) / 1000, UTC)
        for user in range(self.users):
            name = user_id(user)
            profile = Profile(
                user_id=name,
                address=f"{name}@mail.example",
                zone=ZONES[user % len(ZONES)],
                locale="en-GB",
                attributes={"plan": ("free", "plus", "pro")[user % 3], "vip": user % 50 == 0},
                consent={"marketing": Consent(granted=True, time=given, method="form")},
            )
            yield name.encode(), orjson.dumps(profile.model_dump(mode="json", exclude_none=True))


def user_id(user: int) -> str:
    """The name of a user by number."""
    return f"user-{user:07d}"


class _Crowd:
    """Draws the user of each event."""

    def __init__(self, workload: Workload, chance: random.Random) -> None:
        self._chance = chance
        self._everybody = range(workload.users)
        weights = (1 / rank**ZIPF_EXPONENT for rank in range(1, workload.users + 1))
        self._zipf = list(accumulate(weights)) if workload.distribution == "zipf" else None

    def browsers(self, count: int) -> Iterator[int]:
        """The browsing user of each of `count` events."""
        return iter(self._chance.choices(self._everybody, cum_weights=self._zipf, k=count))

    def shopper(self) -> int:
        """A user who begins a session."""
        if self._zipf is not None and self._chance.random() < HOT_SHOPPERS:
            return self._chance.choices(self._everybody, cum_weights=self._zipf)[0]
        return self._chance.randrange(len(self._everybody))


class _Sessions:
    """The sessions in progress and their next events."""

    def __init__(self, workload: Workload, chance: random.Random, crowd: _Crowd) -> None:
        self._chance = chance
        self._crowd = crowd
        self._long = LONG_SHARE[workload.distribution]
        length = 3.5 * self._long + 1.5 * (1 - self._long)
        share = MATCH_SHARE * CUT_SHORT
        self._begins = share / (length - share * (length - 1))  # of the places that no session has taken
        self._gap = workload.places(GAP_MS)
        self._rest = workload.places(REST_MS)
        self._begun = 0
        self._coming: list[tuple[int, int, WorkloadEvent]] = []
        self._busy_until: dict[int, int] = {}

    def next(self, number: int) -> WorkloadEvent | None:
        """The session event of this place; None where somebody just browses."""
        if self._coming and self._coming[0][0] <= number:
            _, _, what = heapq.heappop(self._coming)
            return WorkloadEvent(number, what.type, what.user, what.properties)
        if self._chance.random() >= self._begins:
            return None
        user = self._free(number)
        return None if user is None else self._begin(number, user)

    def _free(self, number: int) -> int | None:
        for _ in range(_DRAWS):
            user = self._crowd.shopper()
            if self._busy_until.get(user, 0) <= number:
                return user
        return None

    def _begin(self, number: int, user: int) -> WorkloadEvent:
        chance = self._chance
        kind = chance.choices(list(KINDS), KIND_WEIGHTS)[0]
        length = chance.choice((3, 4) if chance.random() < self._long else (1, 2))
        self._begun += 1
        at, total = number, 0.0
        events = []
        for step, name in enumerate(KINDS[kind][:length], 1):
            total += chance.randrange(200, 8_000) / 100
            properties = {
                "session": f"s-{self._begun}",
                "step": step,
                "total": round(total, 2),
                "currency": "EUR",
                "device": chance.choice(("phone", "desktop", "tablet")),
            }
            events.append(WorkloadEvent(at, name, user, properties))
            at += chance.randint(1, self._gap)
        for what in events[1:]:
            heapq.heappush(self._coming, (what.number, self._begun, what))
        self._busy_until[user] = at + self._gap + self._rest  # an event comes later if its number is taken
        return events[0]


def _browsing(number: int, user: int, chance: random.Random) -> WorkloadEvent:
    place = int(chance.random() * 5_000)
    properties: dict[str, Any] = {"path": f"/catalogue/{place % 40}/{place}", "referrer": "search", "ms": place}
    if place % 2:
        properties["campaign"] = f"autumn-{place % 7}"
    return WorkloadEvent(number, BROWSING[place % len(BROWSING)], user, properties)

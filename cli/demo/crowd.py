"""The simulated customers: CDNOW's customers as profiles, and what they do now. Pure: seed and time are arguments."""

import hashlib
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cli.demo.cdnow import Purchase
from schemas.events import Event
from schemas.profiles import Consent, Profile

ZONES = (
    "Pacific/Honolulu", "America/Anchorage", "America/Los_Angeles", "America/Denver", "America/Chicago",
    "America/New_York", "America/Sao_Paulo", "Atlantic/Azores", "Europe/London", "Europe/Berlin", "Europe/Helsinki",
    "Asia/Dubai", "Asia/Karachi", "Asia/Kolkata", "Asia/Bangkok", "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney",
    "Pacific/Auckland",
)  # fmt: skip
"""Spread so that at any hour some users are in quiet hours and others are not."""

NAMES = ("Ada", "Ben", "Chloé", "Dmitri", "Emi", "Farid", "Grace", "Hugo", "Ines", "Jörg", "Kofi", "Lena")
ALBUMS = (
    "Blue Train", "Kind of Blue", "OK Computer", "Buena Vista Social Club", "Time Out", "Homogenic", "Dig Me Out",
    "Être aux anges", "The Köln Concert", "Mezzanine", "Ladies and Gentlemen", "Baduizm", "Homework",
)  # fmt: skip
HALF_LIFE = timedelta(days=14)
LINE = 0.2
"""The half-life and the win-back line of examples/: they put the crossings within the run."""

GREYLISTED, GONE = "451-1", "550"
"""Mailboxes at which the sink answers 451 once, or 550 always (data/sink.toml)."""
NORTHMAIL, ELSEWHERE = "northmail.example", "mail.example"
"""Where mailboxes are: at the provider that blocks an address of ours for a while, and at one that never does."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many customers there are of each kind, and how many live events in all."""

    carts: int = 800
    cart_bought: int = 100
    cart_emptied: int = 60
    cart_second: int = 120
    cart_withdrawn: int = 40
    lapsing: int = 120
    orders: int = 1_200
    events: int = 20_000


@dataclass(slots=True)
class Crowd:
    """What is published live: events in order, profile changes, and the instant of the last timer."""

    events: list[Event] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    browsers: list[str] = field(default_factory=list)
    """Customers who only look around."""
    last_due: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def due(self, moment: datetime) -> None:
        """Notes that a timer is due at `moment`."""
        self.last_due = max(self.last_due, moment)


def profile(customer: str, since: datetime, *, granted: bool = True) -> Profile:
    """The customer's profile. The customer id determines zone, name and mailbox."""
    digest = _digest(customer)
    return Profile(
        user_id=customer,
        address=mailbox(customer),
        zone=ZONES[digest[1] % len(ZONES)],
        locale="en",
        attributes={"name": NAMES[digest[2] % len(NAMES)]},
        consent={"marketing": Consent(granted=granted, time=since, method="checkout", text_version="1998-01")},
    )


def mailbox(customer: str) -> str:
    """The customer's address."""
    digest = _digest(customer)
    if digest[0] < 4:  # 1.6 %
        return f"{GREYLISTED}+{customer}@{ELSEWHERE}"
    if digest[0] == 4:  # 0.4 %
        return f"{GONE}+{customer}@{ELSEWHERE}"
    return f"{customer}@{NORTHMAIL if digest[3] < 85 else ELSEWHERE}"  # a third


def takes_every_mail(customer: str) -> bool:
    """Whether nothing ever refuses, defers or blocks the customer's mails."""
    return mailbox(customer) == f"{customer}@{ELSEWHERE}"


def _digest(customer: str) -> bytes:
    return hashlib.blake2b(customer.encode(), digest_size=8).digest()


def last_purchases(purchases: Iterable[Purchase]) -> dict[str, datetime]:
    """Each customer's last purchase."""
    last: dict[str, datetime] = {}
    for purchase in purchases:
        last[purchase.customer] = max(purchase.time, last.get(purchase.customer, purchase.time))
    return last


RUN = (timedelta(minutes=-11), timedelta(minutes=4))
"""A crossing in this time around now would mail somebody: win-back's max_age before now, and the run after it."""


def shift_to_present(now: datetime, end: datetime, crossings: Sequence[datetime]) -> timedelta:
    """How far to move a log that ends at `end`, so that its last purchase was two days ago.

    `crossings` are the instants after `end` at which a customer's score falls below the line. The shift is shortened
    by as few minutes as needed, so that none of them falls within RUN and the backfill mails nobody.
    """
    for minutes in range(24 * 60):
        shift = now - timedelta(days=2, minutes=minutes) - end
        if not any(now + RUN[0] <= crossing + shift <= now + RUN[1] for crossing in crossings):
            return shift
    raise ValueError("some score crosses the line in every quarter hour of a day; lower the rule's max_age")


def gather(seed: int, now: datetime, last: dict[str, datetime], sizes: Sizes) -> Crowd:
    """The live crowd of `seed` at `now`; `last` holds each customer's last purchase, already moved to the present."""
    rng = random.Random(seed)
    lapsed = sorted(c for c, moment in last.items() if now - moment > timedelta(days=400))
    lapsing = rng.sample(lapsed, sizes.lapsing)
    others = sorted(set(last) - set(lapsing))
    rng.shuffle(others)
    shoppers, buyers = others[: sizes.carts], others[sizes.carts : sizes.carts + sizes.orders]
    crowd = Crowd()
    for number, customer in enumerate(lapsing):
        _lapse(crowd, rng, customer, number, now)
    for number, customer in enumerate(shoppers):
        _shop(crowd, rng, customer, number, now, sizes)
    settled = len(crowd.events)
    orders = [order(rng, customer, f"order-{number}", now) for number, customer in enumerate(buyers)]
    crowd.browsers = others[sizes.carts + sizes.orders :]
    views = [_view(rng, rng.choice(others[sizes.carts :]), n, now) for n in range(sizes.events - settled - len(orders))]
    today = orders + views
    rng.shuffle(today)
    crowd.events += today
    return crowd


def _event(kind: str, customer: str, ident: str, time: datetime, **properties: Any) -> Event:
    return Event(id=ident, type=kind, user_id=customer, time=time, properties=properties, source="demo")


def _view(rng: random.Random, customer: str, number: int, time: datetime) -> Event:
    sku = rng.randrange(len(ALBUMS))
    return _event("product_viewed", customer, f"view-{number}", time, sku=f"cd-{sku}", category="cd")


def order(rng: random.Random, customer: str, ident: str, time: datetime) -> Event:
    """An order of that id."""
    quantity = rng.randint(1, 4)
    total = round(quantity * 14.99, 2)
    return _event("order_completed", customer, ident, time, order_id=ident, total=total, quantity=quantity)


def _lapse(crowd: Crowd, rng: random.Random, customer: str, number: int, now: datetime) -> None:
    """Adds a past view of one point: its score falls below the line 8 to 25 s from now."""
    crossing = now + timedelta(seconds=rng.uniform(8, 25))
    decay = HALF_LIFE * math.log2(1 / LINE)
    crowd.events.append(
        _event("product_viewed", customer, f"lapse-{number}", crossing - decay, sku="cd-0", category="cd")
    )
    crowd.due(crossing)


def _shop(crowd: Crowd, rng: random.Random, customer: str, number: int, now: datetime, sizes: Sizes) -> None:
    """Adds a cart left 59 to 60 minutes ago; by `number` some bought, emptied it, filled another or withdrew."""
    left = now - timedelta(minutes=60) + timedelta(seconds=rng.uniform(8, 25))
    cart = f"cart-{number}"
    items = rng.sample(ALBUMS, rng.randint(1, 3))
    total = round(len(items) * 14.99 + 5.01, 2)
    crowd.events.append(_view(rng, customer, 1_000_000 + number, left - timedelta(minutes=3)))
    crowd.events.append(_event("cart_updated", customer, cart, left, cart_id=cart, total=total, items=items))
    crowd.due(left + timedelta(hours=1))
    bought = sizes.cart_bought
    emptied = bought + sizes.cart_emptied
    second = emptied + sizes.cart_second
    withdrawn = second + sizes.cart_withdrawn
    later = left + timedelta(minutes=20)
    if number < bought:
        order = {"order_id": f"{cart}-order", "total": total, "quantity": len(items), "cart_id": cart}
        crowd.events.append(_event("order_completed", customer, f"{cart}-order", later, **order))
    elif number < emptied:
        crowd.events.append(
            _event("cart_updated", customer, f"{cart}-emptied", later, cart_id=cart, total=0.0, items=[])
        )
    elif number < second:
        other, moment = f"{cart}-b", left + timedelta(seconds=2)
        crowd.events.append(_event("cart_updated", customer, other, moment, cart_id=other, total=total, items=items))
        crowd.due(moment + timedelta(hours=1))
    elif number < withdrawn:
        crowd.profiles.append(profile(customer, now, granted=False))

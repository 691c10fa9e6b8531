"""The rules of a chaos run: short durations, so that everything happens within it, and every gate is met.

A set is a function of a few switches, which a run turns; and of the minute in which it begins, for quiet periods.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from slow_model.compare import PlainCap

TEMPLATES = ("reminder", "offer", "missed", "thanks")
MAX_JOURNEYS = 4

SCORES = """
score: interest
decay: {curve: exponential, half_life: 20s}
add:
  - {event: page_viewed, points: 1}
  - {event: product_viewed, where: event.price >= 20, points: 2}
  - {event: email.clicked, points: 3}
---
score: spend
decay: {curve: exponential, half_life: 30s}
ceiling: 30
add: {event: order_completed, points: event.total / 10}
---
policy: frequency
for: {purpose: marketing}
cap: {max: 5, per: 30s, scope: all}
holdout: 5%
---
policy: rest
for: {purpose: news}
quiet:
  - {from: "FROM", to: "TO", over: defer}
"""
CART = """
trigger: cart
mode: CART_MODE
purpose: marketing
on: {event: cart_updated, where: event.total >= 20}
key: event.cart_id
reentry: 15s
after: 6s
unless:
  - {event: order_completed, same: cart_id}
  - {event: cart_updated, same: cart_id, where: event.total < 20}
when: score.interest >= 1 && user.plan != "none"
cap: {max: 2, per: 30s}
expires: 20s
max_age: 20s
send: {template: reminder, data: {cart_id: event.cart_id, total: event.total, plan: user.plan}}
"""
JOURNEY = """
trigger: journey
purpose: marketing
on: order_completed
key: event.store
unless: complaint_filed
cap:
  - {max: JOURNEY_MAX, per: 20s, scope: purpose, over: defer}
  - {max: 2, per: 10s, scope: key, over: defer}
expires: 25s
steps:
  - send: {template: offer, id: first}
  - wait: 5s
  - send: {template: offer, id: second, data: {store: event.store, interest: score.interest}}
"""
CATEGORY = """
trigger: category
purpose: news
on: {event: product_viewed, where: event.price < 20}
key: [event.category, event.campaign]
overlap: ignore
after: 4s
unless: {event: sold_out, same: [category, campaign]}
expires: 2m
steps:
  - send: {template: offer, id: first}
  - wait: 3s
  - send: {template: offer, id: second}
"""
LEVELS = """
trigger: eager
purpose: marketing
on: {score: interest, reaches: 6, rearm: 3}
holdout: 20%
cap: {max: 1, per: calendar day}
send: {template: offer, data: {interest: score.interest}}
---
trigger: fading
purpose: news
on: {score: interest, falls_below: 1, rearm: 3}
max_age: 20s
cap: {max: 1, per: 15s, over: defer, spread: 4s}
expires: 40s
send: {template: missed, data: {interest: score.interest}}
---
trigger: spender
mode: canary 50%
purpose: marketing
on: {score: spend, reaches: 8}
cap: {max: 1, per: 20s}
send: {template: offer}
"""
THANKS = """
trigger: thanks
purpose: transactional
priority: 90
on: order_completed
key: event.order_id
reentry: never
expires: 3m
send: {template: thanks, data: {order_id: event.order_id, total: event.total}}
"""
TRIAL = """
trigger: trial
mode: shadow
purpose: marketing
on: {event: page_viewed, where: event.deep == true}
cap: {max: 1, per: 20s}
send: {template: offer}
"""
FRESH = """
trigger: fresh
purpose: news
on: signed_in
key: event.device
overlap: restart
after: 2s
send: {template: reminder, data: {device: event.device}}
"""
VISIT = """
trigger: visit
purpose: news
on: signed_in
key: event.device
overlap: gather
on_edit: EDIT
unless: complaint_filed
expires: 40s
steps:
  - send: {template: reminder, id: hello}
  - wait_for: {event: order_completed, where: event.total > 20}
    up_to: WAIT_S
    then:
      - send: {template: thanks, id: bought, data: {total: occurrence.matched.total, entries: size(occurrence.events)}}
    else:
      - send: {template: missed, id: missed, data: {entries: size(occurrence.events)}}
  - wait: 2s
  - send: {template: offer, id: last}
"""
BRANDS = """
brand: shop
from: Shop <hello@shop.example>
---
brand: outlet
from: Outlet <hello@outlet.example>
---
trigger: shop-offer
brand: shop
purpose: news
on: {event: product_viewed, where: event.price >= 30}
cap: {max: 2, per: 20s, scope: brand}
budget: {max: 1000, per: 1h}
send: {template: offer, data: {price: event.price}}
---
trigger: shop-missed
brand: MISSED_BRAND
purpose: marketing
on: {event: page_viewed, where: event.deep == true}
after: 3s
cap: {max: 2, per: 20s, scope: brand, over: defer}
expires: 30s
send: {template: missed}
---
policy: brake
for: {brand: shop}
budget: {max: 5000, per: calendar day}
"""
WEBHOOK = """
trigger: tell
purpose: news
on: order_completed
key: event.order_id
reentry: never
when: event.total > 30
send: {webhook: crm, data: {order_id: event.order_id, total: event.total}}
---
endpoint: crm
url: https://crm.example/hooks
secrets: crm-signing
"""
COUNTS = """
trigger: burst
purpose: marketing
on: {event: signed_in, within: 8s, reaches: 3, rearm: 1}
cap: {max: 2, per: 30s}
send: {template: offer}
---
trigger: quieter
purpose: news
on: {event: signed_in, within: 10s, falls_below: 2, rearm: 3}
cap: {max: 2, per: 20s, over: defer}
max_age: 20s
send: {template: missed}
---
trigger: gone
purpose: news
on: {event: [signed_in, page_viewed], inactive: 12s}
max_age: 20s
send: {template: missed}
"""


@dataclass(frozen=True)
class Switches:
    """What a run turns: the mode of one rule, the cap of another, the brand of a third, whether two more are there, and
    what is edited under running journeys."""

    cart_mode: str = "live"
    journey_max: int = 3
    trial: bool = True
    fresh: bool = False
    visit_wait_s: int = 4
    visit_edit: str = "follow"
    missed_brand: str = "shop"

    def turned(self, chance: Random) -> "Switches":
        """One of them turned."""
        match chance.randrange(7):
            case 0:
                modes = [mode for mode in ("live", "off", "canary 50%", "shadow") if mode != self.cart_mode]
                return replace(self, cart_mode=chance.choice(modes))
            case 1:
                others = [number for number in range(1, MAX_JOURNEYS + 1) if number != self.journey_max]
                return replace(self, journey_max=chance.choice(others))
            case 2:
                return replace(self, trial=not self.trial)
            case 3 | 4:
                wait_s = chance.choice([seconds for seconds in (1, 4, 9) if seconds != self.visit_wait_s])
                return replace(self, visit_wait_s=wait_s, visit_edit=chance.choice(("follow", "follow", "pin")))
            case 5:
                return replace(self, missed_brand="outlet" if self.missed_brand == "shop" else "shop")
        return replace(self, fresh=not self.fresh)


CAPS = [
    PlainCap(2, 30_000, trigger="cart"),
    PlainCap(MAX_JOURNEYS, 20_000, trigger="journey"),
    PlainCap(5, 30_000, purpose="marketing"),
    PlainCap(1, 15_000, trigger="fading"),
    PlainCap(1, 20_000, trigger="spender"),
    PlainCap(2, 30_000, trigger="burst"),
    PlainCap(2, 20_000, trigger="quieter"),
    PlainCap(2, 20_000, brand="shop"),
    PlainCap(2, 20_000, brand="outlet"),
]
"""What may never be exceeded, under any of the sets."""


def quiet_minutes(begin: datetime) -> tuple[str, str]:
    """A quiet minute soon after the beginning, in UTC's reading: who lives elsewhere is not held."""
    minute = begin.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return f"{minute:%H:%M}", f"{minute + timedelta(minutes=1):%H:%M}"


def texts(switches: Switches, quiet: tuple[str, str]) -> dict[str, str]:
    """The files of a set, by name."""
    files = {
        "scores.yaml": SCORES.replace("FROM", quiet[0]).replace("TO", quiet[1]),
        "cart.yaml": CART.replace("CART_MODE", switches.cart_mode),
        "journey.yaml": JOURNEY.replace("JOURNEY_MAX", str(switches.journey_max)),
        "category.yaml": CATEGORY,
        "levels.yaml": LEVELS,
        "counts.yaml": COUNTS,
        "thanks.yaml": THANKS,
        "brands.yaml": BRANDS.replace("MISSED_BRAND", switches.missed_brand),
        "webhook.yaml": WEBHOOK,
        "visit.yaml": VISIT.replace("WAIT_S", f"{switches.visit_wait_s}s").replace("EDIT", switches.visit_edit),
    }
    if switches.trial:
        files["trial.yaml"] = TRIAL
    if switches.fresh:
        files["fresh.yaml"] = FRESH
    return files


def write_folder(folder: Path, switches: Switches, quiet: tuple[str, str]) -> None:
    """The set as a folder of rules and templates."""
    (folder / "templates").mkdir()
    for name, text in texts(switches, quiet).items():
        (folder / name).write_text(text)
    for name in TEMPLATES:
        (folder / "templates" / f"{name}.liquid").write_text(
            f"---\nsubject: {name}\n---\n<p>{name}</p>\n--- text ---\n{name}\n"
        )

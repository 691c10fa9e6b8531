"""Workloads in which every event counts: each changes the state that one rule, or two or three of twenty, keep.

Users are drawn evenly or by Zipf's law, as in `workloads`, and types of events evenly.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from perf.jobs import EVERY_EVENT_POINTS
from perf.workloads import Workload, WorkloadEvent

ALL_COUNT_TYPES = (
    "page_viewed",
    "search_made",
    "product_viewed",
    "wishlist_added",
    "cart_updated",
    "checkout_started",
    "order_completed",
    "review_written",
    "article_read",
    "ticket_opened",
)
BASKETS = 3
"""So many carts a user has open: a rule has one running occurrence for each."""


@dataclass(frozen=True, slots=True)
class EveryEventWorkload(Workload):
    """Events of the five types that add to the score of `rules/every-event`."""

    name: ClassVar[str] = "every event"

    def events_in_order(self) -> Iterator[WorkloadEvent]:
        """The events in order."""
        chance = random.Random(f"{self.seed}/{self.name}/{self.distribution}")
        types = tuple(EVERY_EVENT_POINTS)
        for number, user in enumerate(self.drawn_users(chance)):
            properties = {
                "sku": f"sku-{number % 997}",
                "price": number % 100,
                "currency": "EUR",
                "device": ("phone", "desktop", "tablet")[number % 3],
            }
            yield WorkloadEvent(number, chance.choice(types), user, properties)


@dataclass(frozen=True, slots=True)
class AllCountWorkload(Workload):
    """Events of the ten types of `rules/twenty-all-count`."""

    name: ClassVar[str] = "all count"

    def events_in_order(self) -> Iterator[WorkloadEvent]:
        """The events in order."""
        chance = random.Random(f"{self.seed}/{self.name}/{self.distribution}")
        for number, user in enumerate(self.drawn_users(chance)):
            properties: dict[str, Any] = {
                "basket": f"b-{chance.randrange(BASKETS)}",
                "total": chance.randrange(10_000) / 100,
                "currency": "EUR",
                "sku": f"sku-{number % 997}",
            }
            yield WorkloadEvent(number, chance.choice(ALL_COUNT_TYPES), user, properties)

"""What budgets would meet: the most commands of a budget's rules in one of its windows, by a history played before."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from triggers.measures.shapes import MS, Calendar, Window
from triggers.rules.rule import Trigger

_CALENDAR_DAYS = {"day": 1, "week": 7, "month": 31}


@dataclass(frozen=True, slots=True)
class BudgetForecast:
    """One budget, and the most sends of its rules in as many whole days as its window touches.

    Days are in UTC, so of a window shorter than a day it is an upper bound.
    """

    name: str
    maximum: int
    window: str
    most: int

    @property
    def is_exceeded(self) -> bool:
        """Whether delivery would hold some."""
        return self.most > self.maximum

    def __str__(self) -> str:
        more = ", more than it lets through" if self.is_exceeded else ""
        return f"budget {self.name}, {self.maximum:,} per {self.window}: up to {self.most:,} sends in one window{more}"


def budget_forecasts(triggers: Iterable[Trigger], daily: Mapping[tuple[str, int], int]) -> Iterator[BudgetForecast]:
    """A forecast for each budget, by name; `daily` has the sends by trigger and day."""
    obeying: dict[str, set[str]] = {}
    budgets = {}
    for trigger in triggers:
        for budget in trigger.budgets:
            budgets[budget.name] = budget
            obeying.setdefault(budget.name, set()).add(trigger.name)
    for name, budget in sorted(budgets.items()):
        by_day = Counter[int]()
        for (trigger_name, day), count in daily.items():
            if trigger_name in obeying[name]:
                by_day[day] += count
        yield BudgetForecast(name, budget.maximum, str(budget.window), _most(by_day, _days(budget.window)))


def _days(window: Window) -> int:
    return _CALENDAR_DAYS[window.unit] if isinstance(window, Calendar) else -(-window.ms // MS["d"])


def _most(by_day: Mapping[int, int], days: int) -> int:
    """The most in so many days together."""
    return max((sum(by_day.get(day - back, 0) for back in range(days)) for day in by_day), default=0)

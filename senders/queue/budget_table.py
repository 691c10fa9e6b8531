"""The table `ledger_budgets`: what each budget has let through in its window.

One transaction locks the rows that it counts in, in the order of their keys, up to its commit. So no two count at once,
and what is rolled back was never counted.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from infra.postgres.columns import statement
from schemas.budgets import Budget
from senders.queue.budget_windows import part_of, standing

TELL_AGAIN = timedelta(minutes=10)
"""How long a budget that goes on holding is not told of again."""
_KEYS = SQL("unnest(%(names)s::text[], %(spans)s::text[]) AS wanted (name, span)")
_MAKE = statement(
    """INSERT INTO ledger_budgets (name, span, most) SELECT name, span, 0 FROM {keys} ORDER BY 1, 2
       ON CONFLICT DO NOTHING""",
    keys=_KEYS,
)
_LOCK = statement(
    """SELECT b.name, b.span, b.counts, b.held_at FROM ledger_budgets AS b JOIN {keys} USING (name, span)
       ORDER BY b.name, b.span FOR UPDATE OF b""",
    keys=_KEYS,
)
_STORE = """UPDATE ledger_budgets
    SET most = %(most)s, counts = %(counts)s, counted_at = %(at)s, held = held + %(held)s,
        held_at = CASE WHEN %(held)s > 0 THEN %(at)s ELSE held_at END
    WHERE name = %(name)s AND span = %(span)s"""


@dataclass(slots=True)
class CountedBudget:
    """One row while it is locked: what it counts, and what it holds of this transaction's commands."""

    budget: Budget
    """As the last command that was asked about says it."""
    counts: dict[int, int]
    held_at: datetime | None
    at: datetime
    held: int = 0
    used: int = field(init=False)

    def __post_init__(self) -> None:
        self.counts = dict(standing(self.budget, self.counts, self.at))
        self.used = sum(self.counts.values())

    def has_room(self, budget: Budget) -> bool:
        """Whether the window has room for one more, by the maximum that a command brings."""
        self.budget = budget
        return self.used < budget.max

    def take(self) -> None:
        """Count one."""
        part = part_of(self.budget, self.at)
        self.counts[part] = self.counts.get(part, 0) + 1
        self.used += 1

    @property
    def is_to_be_told(self) -> bool:
        """Whether somebody must hear now that it holds commands."""
        return self.held > 0 and (self.held_at is None or self.at - self.held_at >= TELL_AGAIN)


def lock(connection: Connection[Any], budgets: Collection[Budget]) -> dict[tuple[str, str], CountedBudget]:
    """The rows of these budgets by name and window, locked, and made where they are missing.

    They count as of an instant after the lock: what is counted in them later is not before it.
    """
    by_key = {(budget.name, budget.window): budget for budget in budgets}
    keys = {"names": [name for name, _ in by_key], "spans": [span for _, span in by_key]}
    found = connection.execute(_LOCK, keys).fetchall()
    if len(found) < len(by_key):
        connection.execute(_MAKE, keys)
        found = connection.execute(_LOCK, keys).fetchall()
    [[at]] = connection.execute("SELECT clock_timestamp()").fetchall()
    return {
        (name, span): CountedBudget(
            by_key[name, span], {int(part): count for part, count in counts.items()}, held_at, at
        )
        for name, span, counts, held_at in found
    }


def store(connection: Connection[Any], counted: Iterable[CountedBudget]) -> None:
    """Keep what was counted and held."""
    with connection.cursor() as cursor:
        cursor.executemany(
            _STORE,
            [
                {
                    "name": each.budget.name,
                    "span": each.budget.window,
                    "most": each.budget.max,
                    "counts": Jsonb({str(part): count for part, count in each.counts.items()}),
                    "at": each.at,
                    "held": each.held,
                }
                for each in counted
            ],
        )

"""The SQL that adds a batch to the rollups of the facts' own time.

A statement begins with `fresh`, the rows that are to be counted. Each `Rollup` then groups them by hour, and adds the
sums to what the hour and its day have.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import Connection


@dataclass(frozen=True, slots=True)
class Rollup:
    """A pair of tables, by hour and by day. Keys and counts are column -> expression over a row of the source.

    The first key is the time.
    """

    name: str
    keys: Mapping[str, str]
    counts: Mapping[str, str]

    @property
    def tables(self) -> tuple[str, str]:
        """The tables by hour and by day."""
        return f"rollup_{self.name}_hour", f"rollup_{self.name}_day"

    @property
    def time(self) -> str:
        """The column of the bucket."""
        return next(iter(self.keys))

    def added(self, source: str) -> str:
        """The parts of a WITH that add the rows of a source, which may have a WHERE."""
        hour, day = self.tables
        keys, counts = ", ".join(self.keys), ", ".join(self.counts)
        days = ", ".join([f"time_bucket('1 day', {self.time}) AS {self.time}", *list(self.keys)[1:]])
        # A sum of integers is a bigint; one of bigints is a numeric, which costs several times as much.
        small = {name: f"{count}::integer" for name, count in self.counts.items()}
        return f"""
            {self.name}_of_hours AS (
                SELECT {_named(self.keys)}, {_named(small)} FROM {source} GROUP BY {_numbers(len(self.keys))}
            ), {self.name}_to_hours AS (
                INSERT INTO {hour} AS kept ({keys}, {counts}) SELECT {keys}, {counts} FROM {self.name}_of_hours
                {self._on_conflict()}
            ), {self.name}_to_days AS (
                INSERT INTO {day} AS kept ({keys}, {counts})
                SELECT {days}, {", ".join(f"sum({each})" for each in self.counts)}
                FROM {self.name}_of_hours GROUP BY {_numbers(len(self.keys))}
                {self._on_conflict()}
            )"""  # noqa: S608  # of our own names

    def clear(self, connection: Connection[Any], since: datetime, until: datetime) -> None:
        """Delete the buckets of whole days."""
        for table in self.tables:
            connection.execute(
                f"DELETE FROM {table} WHERE {self.time} >= %s AND {self.time} < %s".encode(),  # noqa: S608
                [since, until],
            )

    def _on_conflict(self) -> str:
        sums = ", ".join(f"{each} = kept.{each} + excluded.{each}" for each in self.counts)
        return f"ON CONFLICT ({', '.join(self.keys)}) DO UPDATE SET {sums}"


def _named(expressions: Mapping[str, str]) -> str:
    return ", ".join(f"{expression} AS {name}" for name, expression in expressions.items())


def _numbers(count: int) -> str:
    return ", ".join(str(number + 1) for number in range(count))


_HOUR = "time_bucket('1 hour', time)"
_OF_MAIL = {
    "trigger": "coalesce(trigger, '')",
    "step": "coalesce(step, '')",
    "variant": "coalesce(variant, '')",
    "purpose": "coalesce(purpose, '')",
    "brand": "coalesce(brand, '')",
}
DECISIONS = Rollup(
    "decisions",
    {
        "bucket": _HOUR,
        "trigger": "trigger",
        "step": "step",
        "variant": "coalesce(variant, '')",
        "purpose": "''",
        "brand": "''",
        "outcome": "outcome",
        "reason": "coalesce(reason, '')",
    },
    {"n": "count(*)"},
)
GOALS = Rollup(
    "goals",
    {
        "sent": "time_bucket('1 hour', sent_at)",
        "trigger": "trigger",
        "step": "step",
        "variant": "coalesce(variant, '')",
        "held_out": "command_id IS NULL",
    },
    {"n": "count(*)"},
)
REACHED = "outcome = 'goal' AND sent_at IS NOT NULL"
DELIVERIES = Rollup(
    "deliveries",
    {
        "bucket": _HOUR,
        **_OF_MAIL,
        "provider": "provider",
        "kind": "kind",
        "classification": "split_part(coalesce(classification, ''), ':', 1)",
    },
    {"n": "count(*)", "first_attempts": "count(*) FILTER (WHERE attempt <= 1)"},
)
ENGAGEMENT = Rollup(
    "engagement",
    {
        "bucket": _HOUR,
        **_OF_MAIL,
        "kind": "kind",
        "actor": "CASE machine WHEN true THEN 'machine' WHEN false THEN 'person' ELSE 'unknown' END",
        "evidence": "coalesce(evidence, '')",
    },
    {"n": "count(*)"},
)

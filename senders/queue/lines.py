"""Lines of commands that wait in the ledger for their turn, on a lane or at a limit.

A row in a line is written once, when it joins. It stays as it is until its mail begins: who owns the partition reads
the head of the line whenever there is room. Its next attempt is its expiry. Its reason is `limited`: programs that know
no lines write another one, and leave the column as it is.

A head is looked for behind what was read before (`LineOrder`): PostgreSQL would otherwise step over every row that has
left the line and that an old snapshot still keeps.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from infra.postgres.columns import array_literal
from senders.queue.due_order import DueOrder
from senders.queue.ledger import DueStatus, QueueClass

MOST_FOUND = 10_000
"""How many lines are found at once, and known at once."""
BEFORE_ALL = -(2**63)

_FOUND = """WITH RECURSIVE found (behind) AS (
        SELECT %(after)s::bigint
        UNION ALL
        SELECT (SELECT min(step.behind) FROM unnest(%(partitions)s::int[]) AS p,
                LATERAL (SELECT min(behind) AS behind FROM ledger_queue AS q
                         WHERE partition = p AND q.behind > found.behind) AS step)
        FROM found WHERE behind IS NOT NULL
    )
    SELECT behind FROM found WHERE behind IS NOT NULL OFFSET 1 LIMIT %(most)s"""
_CLASSES = """WITH RECURSIVE found (line, partition, priority) AS (
        SELECT line, p, (SELECT max(priority) FROM ledger_queue WHERE partition = p AND behind = line)
        FROM unnest(%(lines)s::bigint[]) AS line, unnest(%(partitions)s::int[]) AS p
        UNION ALL
        SELECT line, partition, (SELECT max(priority) FROM ledger_queue AS q
                                 WHERE q.partition = found.partition AND q.behind = found.line
                                   AND q.priority < found.priority)
        FROM found WHERE priority IS NOT NULL
    )
    SELECT line, partition, priority FROM found WHERE priority IS NOT NULL"""
_HEADS = """SELECT behind, command_id, state, attempt, partition, priority, admitted_at
    FROM unnest(%(lines)s::bigint[], %(counts)s::int[]) AS l (line, count),
    LATERAL (SELECT head.*
             FROM unnest(%(lines_of)s::bigint[], %(partitions)s::int[], %(priorities)s::smallint[],
                         %(after)s::timestamptz[]) AS c (line_of, p, prio, after),
             LATERAL (SELECT * FROM ledger_queue
                      WHERE partition = p AND behind = line_of AND priority = prio AND admitted_at >= after
                        AND reason = 'limited' AND state <> 'started' AND next_attempt_at IS NOT NULL
                        AND command_id <> ALL(%(without)s::uuid[])
                      ORDER BY admitted_at LIMIT l.count) AS head
             WHERE line_of = line
             ORDER BY priority DESC, admitted_at LIMIT l.count) AS heads
    ORDER BY priority DESC, admitted_at"""


def line_of(name: str) -> int:
    """The line at the lane or limit of this name."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)


def line_id(line: int) -> str:
    """What a worker's page calls a line."""
    return f"line {line}"


def line_with(id_: str) -> int | None:
    """The line that a worker's page calls so; None if it is no line."""
    word, _, number = id_.partition(" ")
    return int(number) if word == "line" and re.fullmatch("-?[0-9]{1,19}", number, re.ASCII) else None


class LineSearch:
    """Finds the lines that have commands, at most MOST_FOUND at once; the next search goes on after them."""

    def __init__(self) -> None:
        self._after = BEFORE_ALL

    async def find(self, connection: AsyncConnection[Any], partitions: Collection[int]) -> list[int]:
        """The next lines, found by one step in the index for each and each partition."""
        cursor = await connection.execute(
            _FOUND, {"after": self._after, "partitions": list(partitions), "most": MOST_FOUND}
        )
        found = [line async for (line,) in cursor]
        self._after = found[-1] if len(found) == MOST_FOUND else BEFORE_ALL
        return found


class LineOrder:
    """Up to when each class of each line has been read, by the time of admission (`DueOrder`).

    Used in the event loop's thread only, and read by one task; `rewind` may come at any time. Who reads lines calls
    `begin_again` now and then: for rows that others wrote, and so that lines are forgotten that have ended.
    """

    def __init__(self) -> None:
        self._orders: dict[int, DueOrder] = {}

    def expect(self, lines: Iterable[int], partitions: Collection[int]) -> list[int]:
        """These lines are about to be read. Returns those whose classes are to be found for `begin`."""
        orders = {line: self._orders.setdefault(line, DueOrder()) for line in lines}
        unknown = [line for line, order in orders.items() if not order.is_known(partitions)]
        for line in unknown:
            orders[line].expect(partitions)
        return unknown

    def begin(self, lines: Iterable[int], classes: Collection[tuple[int, QueueClass]]) -> None:
        """Read these lines from their beginning; these are the classes that were found of them."""
        for line in lines:
            self._orders[line].begin(of for found, of in classes if found == line)

    def begin_again(self) -> None:
        """Read every line from its beginning the next time."""
        self._orders.clear()

    def after(self, lines: Iterable[int]) -> list[tuple[int, QueueClass, datetime]]:
        """Where to read on in each class of these lines."""
        return [(line, of, at) for line in lines for of, at in self._orders[line].after().items()]

    def read(self, heads: Iterable[tuple[int, DueStatus]]) -> None:
        """These have been read since `after`, and all that stood before them in their classes."""
        for line, status in heads:
            self._orders[line].read([status])

    def rewind(self, line: int, queue_class: QueueClass, admitted_at: datetime) -> None:
        """A command of this class joins a line, or was let go without an answer and stands there as before."""
        if (order := self._orders.get(line)) is not None:
            order.rewind(queue_class, admitted_at)


async def heads(
    connection: AsyncConnection[Any],
    order: LineOrder,
    partitions: Collection[int],
    wanted: Mapping[int, int],
    without: Collection[str],
) -> list[tuple[int, DueStatus]]:
    """The first commands of each of these lines, as many as are wanted, except those in `without`.

    The highest priority first, then the oldest: each is due since its admission. What stands before the place to which
    `order` has been read is not even looked at.
    """
    if unknown := order.expect(wanted, partitions):
        cursor = await connection.execute(_CLASSES, {"lines": unknown, "partitions": list(partitions)})
        found = [(line, QueueClass(partition, priority)) async for line, partition, priority in cursor]
        order.begin(unknown, found)
    after = order.after(wanted)
    cursor = await connection.execute(
        _HEADS,
        {
            "lines": array_literal("bigint", wanted),
            "counts": array_literal("int", wanted.values()),
            "lines_of": array_literal("bigint", [line for line, _, _ in after]),
            "partitions": array_literal("int", [of.partition for _, of, _ in after]),
            "priorities": array_literal("smallint", [of.priority for _, of, _ in after]),
            "after": array_literal("timestamptz", [at for _, _, at in after]),
            "without": array_literal("uuid", without),
        },
    )
    return [
        (line, DueStatus(key.hex, state, attempt, QueueClass(partition, priority), admitted_at))
        async for line, key, state, attempt, partition, priority, admitted_at in cursor
    ]

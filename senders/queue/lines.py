"""Lines of commands that wait in the ledger for their turn, on a lane or at a limit.

A row in a line is written once, when it joins. It stays as it is until its mail begins: who owns the partition reads
the head of the line whenever there is room. Its next attempt is its expiry. Its reason is `limited`: programs that know
no lines write another one, and leave the column as it is.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from psycopg import AsyncConnection

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
_HEADS = """SELECT behind, command_id, state, attempt, partition, priority, next_attempt_at
    FROM unnest(%(lines)s::bigint[], %(counts)s::int[]) AS l (line, count),
    LATERAL (SELECT head.* FROM unnest(%(partitions)s::int[]) AS p,
             LATERAL (SELECT * FROM ledger_queue
                      WHERE partition = p AND behind = line AND reason = 'limited' AND state <> 'started'
                        AND next_attempt_at IS NOT NULL
                        AND command_id <> ALL(%(without)s::uuid[])
                      ORDER BY priority DESC, admitted_at LIMIT l.count) AS head
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


async def heads(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    wanted: Mapping[int, int],
    without: Collection[str],
) -> list[tuple[int, DueStatus]]:
    """The first commands of each of these lines, as many as are wanted, except those in `without`.

    The highest priority first, then the oldest.
    """
    cursor = await connection.execute(
        _HEADS,
        {
            "lines": list(wanted),
            "counts": list(wanted.values()),
            "partitions": list(partitions),
            "without": list(without),
        },
    )
    return [
        (line, DueStatus(key.hex, state, attempt, QueueClass(partition, priority), due_at))
        async for line, key, state, attempt, partition, priority, due_at in cursor
    ]

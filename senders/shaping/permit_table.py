"""Takes permits from the table `send_limits`, which all workers share: one row a limit, one statement for many limits.

The table is unlogged: its rows say when the next mails may begin, and a server that crashed has been away for longer.
So taking permits writes no WAL and waits for no disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from senders.shaping.gcra import AHEAD_US, Grant, PacedLimit, horizon_us


@dataclass(frozen=True, slots=True)
class PermitRequest:
    """So many permits of a limit."""

    limit: PacedLimit
    count: int


@dataclass(frozen=True, slots=True)
class PermitAnswer:
    """What a limit gave: a grant, or None and when to ask again. `server_us` is the server's clock at that moment."""

    limit: PacedLimit
    granted: Grant | None
    again_us: int
    server_us: int


_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_TAKE = f"""
WITH asked AS (
    SELECT * FROM unnest(%(names)s::text[], %(intervals)s::bigint[], %(tolerances)s::bigint[], %(horizons)s::bigint[],
                         %(counts)s::bigint[]) AS row (name, interval_us, tolerance_us, horizon_us, count)
), taken AS (
    INSERT INTO send_limits AS held (name, arrival_us, interval_us, tolerance_us, horizon_us, taken)
    SELECT name, {_NOW} + count * interval_us, interval_us, tolerance_us, horizon_us, count FROM asked ORDER BY name
    ON CONFLICT (name) DO UPDATE SET
        arrival_us = CASE WHEN held.arrival_us > {_NOW} + excluded.horizon_us THEN {_NOW}
                          ELSE greatest(held.arrival_us, {_NOW}) END + excluded.taken * excluded.interval_us,
        interval_us = excluded.interval_us,
        tolerance_us = excluded.tolerance_us,
        horizon_us = excluded.horizon_us,
        taken = held.taken + excluded.taken
    WHERE held.arrival_us - excluded.tolerance_us <= {_NOW} + %(ahead)s
        OR held.arrival_us > {_NOW} + excluded.horizon_us
    RETURNING name, arrival_us, {_NOW} AS server_us
)
SELECT asked.name, taken.arrival_us, coalesce(taken.server_us, {_NOW}),
       coalesce(held.arrival_us, 0)
FROM asked LEFT JOIN taken USING (name) LEFT JOIN send_limits AS held USING (name)
"""  # noqa: S608  # no value is put into the text


async def take(connection: AsyncConnection[Any], requests: Sequence[PermitRequest]) -> list[PermitAnswer]:
    """Takes permits by the server's clock. Each limit may stand in the requests once."""
    cursor = await connection.execute(
        _TAKE,
        {
            "names": [each.limit.name for each in requests],
            "intervals": [each.limit.interval_us for each in requests],
            "tolerances": [each.limit.tolerance_us for each in requests],
            "horizons": [horizon_us(each.limit) for each in requests],
            "counts": [each.count for each in requests],
            "ahead": AHEAD_US,
        },
    )
    asked = {each.limit.name: each for each in requests}
    return [_answer(asked[name], *row) async for name, *row in cursor]


async def clock_us(connection: AsyncConnection[Any]) -> int:
    """The server's clock."""
    cursor = await connection.execute(f"SELECT {_NOW}")
    row = await cursor.fetchone()
    assert row is not None, "SELECT of a value gives a row"
    return int(row[0])


def _answer(request: PermitRequest, arrival_us: int | None, server_us: int, held_us: int) -> PermitAnswer:
    limit = request.limit
    if arrival_us is None:
        return PermitAnswer(limit, None, held_us - limit.tolerance_us - AHEAD_US, server_us)
    start_us = arrival_us - request.count * limit.interval_us - limit.tolerance_us
    return PermitAnswer(limit, Grant(start_us, limit.interval_us, request.count), server_us, server_us)

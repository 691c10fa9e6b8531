"""Takes permits from the table `send_limits`, which all workers share: one row a limit, one statement for many limits.

The table is unlogged: its rows say when the next mails may begin, and a server that crashed has been away for longer.
So taking permits writes no WAL and waits for no disk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection

from senders.shaping.gcra import GRANT_US, KEEP_SPREAD_US, Grant, PacedLimit, PermitRequest


@dataclass(frozen=True, slots=True)
class PermitAnswer:
    """What a limit gave: a grant, or None and when to ask again. `server_us` is the server's clock at that moment.

    `spread_us` is that of the limit's row, which is kept until `spread_until_us`.
    """

    limit: PacedLimit
    granted: Grant | None
    again_us: int
    server_us: int
    spread_us: int
    spread_until_us: int


_NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_GAP = "abs(excluded.spread_us - held.spread_us)"
_WIDEST = "greatest(excluded.spread_us, held.spread_us)"
_BEYOND = (
    f"""held.arrival_us > {_NOW} + excluded.horizon_us + 5 * {_WIDEST} + least(3 * {GRANT_US}, 1000 * {_WIDEST})"""
)
_TAKE = f"""
WITH asked AS (
    SELECT * FROM unnest(%(names)s::text[], %(intervals)s::bigint[], %(tolerances)s::bigint[], %(horizons)s::bigint[],
                         %(aheads)s::bigint[], %(spreads)s::bigint[], %(keeps)s::bigint[], %(counts)s::bigint[])
        AS row (name, interval_us, tolerance_us, horizon_us, ahead_us, spread_us, keep_us, count)
), taken AS (
    INSERT INTO send_limits AS held (name, arrival_us, interval_us, tolerance_us, horizon_us, ahead_us, spread_us,
                                     spread_until_us, taken)
    SELECT name, {_NOW} + spread_us + count * interval_us, interval_us, tolerance_us, horizon_us, ahead_us, spread_us,
           {_NOW} + keep_us, count
    FROM asked ORDER BY name
    ON CONFLICT (name) DO UPDATE SET
        arrival_us = greatest(CASE WHEN {_BEYOND} THEN {_NOW} ELSE held.arrival_us END + {_GAP},
                              {_NOW} + excluded.spread_us) + excluded.taken * excluded.interval_us,
        interval_us = excluded.interval_us,
        tolerance_us = excluded.tolerance_us,
        horizon_us = excluded.horizon_us,
        ahead_us = excluded.ahead_us,
        spread_us = excluded.spread_us,
        spread_until_us = greatest(held.spread_until_us, excluded.spread_until_us),
        taken = held.taken + excluded.taken
    WHERE (excluded.spread_us >= held.spread_us OR held.spread_until_us <= {_NOW})
        AND (greatest(held.arrival_us + {_GAP}, {_NOW} + excluded.spread_us) - excluded.tolerance_us
             <= {_NOW} + excluded.ahead_us OR {_BEYOND})
    RETURNING name, arrival_us, {_NOW} AS server_us, spread_until_us
)
SELECT asked.name, taken.arrival_us, coalesce(taken.server_us, {_NOW}), coalesce(held.arrival_us, 0),
       coalesce(held.spread_us, 0), coalesce(taken.spread_until_us, held.spread_until_us, 0)
FROM asked LEFT JOIN taken USING (name) LEFT JOIN send_limits AS held USING (name)
"""  # noqa: S608  # no value is put into the text


async def take(connection: AsyncConnection[Any], requests: Sequence[PermitRequest]) -> list[PermitAnswer]:
    """Takes permits by the server's clock, as `gcra.grant` says. Each limit may stand in the requests once."""
    cursor = await connection.execute(
        _TAKE,
        {
            "names": [each.limit.name for each in requests],
            "intervals": [each.limit.interval_us for each in requests],
            "tolerances": [each.limit.tolerance_us for each in requests],
            "horizons": [each.horizon_us for each in requests],
            "aheads": [each.ahead_us for each in requests],
            "spreads": [each.limit.spread_us for each in requests],
            "keeps": [KEEP_SPREAD_US if each.spread_us >= each.limit.spread_us else 0 for each in requests],
            "counts": [each.count for each in requests],
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


def _answer(
    request: PermitRequest, arrival_us: int | None, server_us: int, held_us: int, spread_us: int, until_us: int
) -> PermitAnswer:
    limit = request.limit
    if arrival_us is not None:
        start_us = arrival_us - request.count * limit.interval_us - limit.tolerance_us
        grant = Grant(start_us, limit.interval_us, request.count, server_us + limit.spread_us, limit.spread_us)
        return PermitAnswer(limit, grant, server_us, server_us, limit.spread_us, until_us)
    if spread_us > limit.spread_us and until_us > server_us:
        return PermitAnswer(limit, None, server_us, server_us, spread_us, until_us)
    again_us = held_us + abs(limit.spread_us - spread_us) - limit.tolerance_us - request.ahead_us
    return PermitAnswer(limit, None, again_us, server_us, spread_us, until_us)

"""Limits on a real PostgreSQL: permits that workers take of one row, and connections under leases."""

import asyncio
from collections.abc import AsyncIterator
from itertools import chain, pairwise
from typing import Any

import pytest
from psycopg import AsyncConnection

from senders.shaping import connection_leases, permit_table
from senders.shaping.connection_leases import ConnectionLease, LeaseRequest
from senders.shaping.gcra import AHEAD_US, LimitRow, PacedLimit, PermitRequest, grant
from senders.shaping.permit_table import PermitAnswer
from senders.shaping.quantities import SendRate

pytestmark = pytest.mark.servers

HOUR_US = 3_600_000_000


@pytest.fixture
async def connections(database_url: str) -> AsyncIterator[list[AsyncConnection[Any]]]:
    """Two workers' connections."""
    async with (
        await AsyncConnection.connect(database_url, autocommit=True) as one,
        await AsyncConnection.connect(database_url, autocommit=True) as other,
    ):
        yield [one, other]


def limit(rate: str, name: str = "l") -> PacedLimit:
    return PacedLimit.of(name, SendRate.parse(rate))


async def take(connection: AsyncConnection[Any], of: PacedLimit, count: int = 1, spread_us: int = 0) -> PermitAnswer:
    [answer] = await permit_table.take(connection, [PermitRequest(of, count, spread_us)])
    return answer


async def test_permits_of_two_workers_follow_each_other(connections: list[AsyncConnection[Any]]) -> None:
    paced = limit("100/s")

    answers = [await take(connections[number % 2], paced, 5) for number in range(5)]

    times = [at for answer in answers if answer.granted for at in answer.granted.times_us]
    assert len(times) == 25
    assert times[0] >= answers[0].server_us - 50_000
    assert all(later - sooner >= paced.interval_us for sooner, later in pairwise(times))


async def test_a_spent_limit_says_when_to_ask_again(connections: list[AsyncConnection[Any]]) -> None:
    paced = limit("1/m")
    first = await take(connections[0], paced)
    assert first.granted

    second = await take(connections[1], paced)

    assert second.granted is None
    assert second.again_us == first.granted.start_us + paced.interval_us - AHEAD_US
    assert second.server_us < second.again_us


async def test_a_burst_may_be_used_at_once(connections: list[AsyncConnection[Any]]) -> None:
    paced = limit("60/m,max_burst=5")

    answer = await take(connections[0], paced, 5)

    assert answer.granted
    assert max(answer.granted.times_us) <= answer.server_us


async def test_limits_are_taken_together_and_apart(connections: list[AsyncConnection[Any]]) -> None:
    slow, fast = limit("1/m", "slow"), limit("100/s", "fast")
    await take(connections[0], slow)

    answers = await permit_table.take(connections[1], [PermitRequest(slow, 1), PermitRequest(fast, 3)])

    assert {answer.limit.name: answer.granted is not None for answer in answers} == {"slow": False, "fast": True}


async def test_two_workers_at_once_never_get_the_same_permit(connections: list[AsyncConnection[Any]]) -> None:
    paced = limit("1000/s")

    async def worker(connection: AsyncConnection[Any]) -> list[int]:
        answers = [await take(connection, paced, 7) for _ in range(20)]
        return [at for answer in answers if answer.granted for at in answer.granted.times_us]

    times = sorted(chain.from_iterable(await asyncio.gather(*map(worker, connections))))

    assert all(later - sooner >= paced.interval_us for sooner, later in pairwise(times))


async def test_a_row_of_a_clock_that_was_set_back_holds_nothing_up(connections: list[AsyncConnection[Any]]) -> None:
    paced = limit("10/s")
    await take(connections[0], paced)
    await connections[0].execute("UPDATE send_limits SET arrival_us = arrival_us + %s", [HOUR_US])

    answer = await take(connections[1], paced)

    assert answer.granted
    assert answer.granted.start_us <= answer.server_us + PermitRequest(paced, 1).horizon_us


async def test_a_limit_is_as_wide_as_its_slowest_worker_needs_it(connections: list[AsyncConnection[Any]]) -> None:
    fast, slow = connections
    narrow = limit("10/s")
    wide = narrow.widened(256_000)
    await take(fast, narrow)

    slow_answer = await take(slow, wide, 3, 256_000)
    refused = await take(fast, narrow)
    fast_answer = await take(fast, narrow.widened(refused.spread_us))
    await fast.execute("UPDATE send_limits SET spread_until_us = 0, arrival_us = 0")
    later = await take(fast, narrow)

    assert slow_answer.granted
    assert slow_answer.granted.start_us >= slow_answer.server_us + 250_000
    assert slow_answer.granted.interval_us == wide.interval_us
    assert (refused.granted, refused.spread_us) == (None, 256_000)
    assert refused.again_us <= refused.server_us
    assert fast_answer.granted
    assert later.granted
    assert later.spread_us == 0


@pytest.mark.parametrize("before", [0, 64_000])
@pytest.mark.parametrize("asked", [0, 64_000, 256_000])
@pytest.mark.parametrize("ahead_us", [-HOUR_US, 0, 200_000, 900_000, 1_500_000, 5_000_000, HOUR_US])
@pytest.mark.parametrize("kept", [True, False])
async def test_the_server_grants_what_the_pure_function_grants(
    connections: list[AsyncConnection[Any]], before: int, asked: int, ahead_us: int, kept: bool
) -> None:
    paced = limit("10/s,max_burst=3")
    request = PermitRequest(paced.widened(asked), 2, asked)
    await take(connections[0], paced)
    await connections[0].execute(
        """UPDATE send_limits SET spread_us = %(spread)s, spread_until_us = now_us + %(keep)s,
               arrival_us = now_us + %(ahead)s
           FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us) AS clock""",
        {"spread": before, "keep": 10_000_000 if kept else -1, "ahead": ahead_us},
    )
    cursor = await connections[0].execute("SELECT arrival_us, spread_us, spread_until_us FROM send_limits")
    row = await cursor.fetchone()
    assert row is not None

    [answer] = await permit_table.take(connections[0], [request])
    expected, _ = grant(request, LimitRow(*row), answer.server_us)

    assert (answer.granted is None) == (expected is None)
    if answer.granted is not None and expected is not None:
        assert abs(answer.granted.start_us - expected.start_us) < 5_000
        assert abs(answer.granted.fresh_us - expected.fresh_us) < 5_000
        assert answer.granted.interval_us == expected.interval_us


async def leases(connection: AsyncConnection[Any], owner: str, most: int, count: int) -> list[ConnectionLease]:
    return await connection_leases.acquire(connection, owner, [LeaseRequest("lane", most, count)])


async def test_all_workers_together_have_no_more_connections_than_the_limit(
    connections: list[AsyncConnection[Any]],
) -> None:
    one, other = connections

    got = await asyncio.gather(*(leases(each, owner, 5, 4) for each, owner in zip(connections, "ab", strict=True)))
    more = [await leases(one, "a", 5, 4), await leases(other, "b", 5, 4)]

    slots = [lease.slot for some in [*got, *more] for lease in some]
    assert sorted(slots) == [1, 2, 3, 4, 5]


async def test_a_released_slot_is_free_and_a_foreign_one_is_not_released(
    connections: list[AsyncConnection[Any]],
) -> None:
    one, other = connections
    mine = await leases(one, "a", 2, 2)

    await connection_leases.release(other, "b", mine)
    assert await leases(other, "b", 2, 1) == []

    await connection_leases.release(one, "a", mine[:1])
    assert await leases(other, "b", 2, 2) == mine[:1]


async def test_the_slots_of_a_worker_that_died_are_free_after_their_lease(
    connections: list[AsyncConnection[Any]],
) -> None:
    one, other = connections
    dead = await leases(one, "a", 1, 1)
    assert await leases(other, "b", 1, 1) == []

    await one.execute("UPDATE connection_leases SET lease_until = clock_timestamp() - interval '1 ms'")

    assert await leases(other, "b", 1, 1) == dead
    assert await connection_leases.renew(one, "a", [(dead[0], 1)]) == {}
    assert await connection_leases.renew(other, "b", [(dead[0], 1)]) == {dead[0]: False}


async def test_a_holder_learns_that_another_worker_wants_a_slot(connections: list[AsyncConnection[Any]]) -> None:
    one, other = connections
    [mine] = await leases(one, "a", 1, 1)

    await connection_leases.want(one, "a", ["lane"])
    assert await connection_leases.renew(one, "a", [(mine, 1)]) == {mine: False}

    await connection_leases.want(other, "b", ["lane"])
    assert await connection_leases.renew(one, "a", [(mine, 1)]) == {mine: True}


async def test_a_lease_beyond_a_limit_that_fell_is_not_renewed(connections: list[AsyncConnection[Any]]) -> None:
    mine = await leases(connections[0], "a", 3, 3)

    kept = await connection_leases.renew(connections[0], "a", [(lease, 2) for lease in mine])

    assert sorted(kept) == mine[:2]

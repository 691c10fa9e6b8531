"""Limits of workers that are far from the ledger's database: they go on at the configured rate, and never exceed it."""

import asyncio
from array import array
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path

import pytest
from drivers.slow_link import slow_link
from structlog.testing import capture_logs

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from perf.bench_limits import SECOND_US, most_within
from perf.limit_worker import send
from senders.shaping.gcra import PacedLimit, PermitRequest
from senders.shaping.permit_taker import PermitTaker
from senders.shaping.quantities import SendRate

pytestmark = pytest.mark.servers

RATE = 50
LIMIT = PacedLimit.of("mails one mx.example", SendRate(RATE, 1))


async def times_of_workers(database_url: str, one_ways_s: Sequence[float], seconds: float, folder: Path) -> list[int]:
    """When workers of one limit begin their mails, in µs."""
    files = [folder / str(number) for number in range(len(one_ways_s))]
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(slow_link(database_url, one_way_s)) for one_way_s in one_ways_s]
        await asyncio.gather(*(send(url, LIMIT, seconds, file) for url, file in zip(urls, files, strict=True)))
    return sorted(chain.from_iterable(array("q", file.read_bytes()) for file in files))


@pytest.mark.parametrize("one_way_s", [[0.1], [0.0, 0.05, 0.4]], ids=["one worker", "three workers"])
async def test_a_limit_is_used_and_kept_however_long_the_database_takes_to_answer(
    database_url: str, tmp_path: Path, one_way_s: list[float]
) -> None:

    times_us = await times_of_workers(database_url, one_way_s, 8, tmp_path)

    assert most_within(times_us, SECOND_US) <= RATE + 1
    last_us = [at for at in times_us if at >= times_us[-1] - 4 * SECOND_US]
    assert (
        len(last_us) >= 0.85 * 4 * RATE
    )  # of a busy machine, on which each stall costs some; 98 % is the promise for minutes


async def test_permits_that_come_too_late_are_said_so_with_the_cause(database_url: str) -> None:
    async with slow_link(database_url, 0.1) as url:
        database = AsyncDatabase(url, Outage("timescale"))
        taker = PermitTaker(database)
        try:
            with capture_logs() as logs:
                await taker.take([PermitRequest(LIMIT, 5)])  # as if nothing had been made up for
                taker.look_for_late()
                problems = taker.problems()
                taker.look_for_late()
        finally:
            await database.close()

    [problem] = problems
    assert "mails one mx.example" in problem
    assert "the ledger's database answers after 0." in problem
    [said] = [each for each in logs if each["event"] == "permits_late"]
    assert said["limits"] == [LIMIT.name]
    assert taker.problems() == [], "none came too late since"

"""Lines of watched conversations, sent by a real PostgreSQL."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import end_tasks
from infra.service.watchdog import Watchdog
from schemas.rules import Control
from senders.delivery.traces import Traces
from senders.policy.switches import DeliverySwitches

pytestmark = pytest.mark.servers


async def test_lines_that_the_database_refuses_are_left_out_and_others_are_sent(database_url: str) -> None:
    switches, now = DeliverySwitches(), datetime.now(UTC)
    scope, until = "delivery/domain/d.example", now + timedelta(minutes=1)
    switches.put(Control(number=1, scope=scope, paused=False, at=now, until=until, trace="ebbtide_trace_1", most=1))
    database = AsyncDatabase(database_url, Outage("timescale"))
    traces = Traces(switches, database, "worker", Watchdog())
    traces.follow()
    traces._put("x" * 64, '"a channel with too long a name"')
    trace = traces.begin("d.example")
    assert trace is not None
    trace(f"550 no {1_000 * '😀'}")

    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as watcher:
        await watcher.execute("LISTEN ebbtide_trace_1")
        running = asyncio.create_task(traces.run())
        notice = await anext(watcher.notifies())
        await end_tasks([running])
        await database.close()

    assert json.loads(notice.payload)[0]["line"] == f"550 no {1_000 * '😀'}"
    assert running.cancelled(), "it has not ended by itself"

"""Look-ups on a PostgreSQL that is slow, or beside a process that was frozen."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from drivers.real_servers import RealServers
from drivers.recipient_pages import recipient_edge
from drivers.running_senders import have_topics
from psycopg import AsyncConnection
from structlog.testing import capture_logs

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.tasks import end_tasks
from web.recipients.lookup import Lookup

pytestmark = pytest.mark.servers


async def test_a_look_up_that_timed_out_is_made_again(database_url: str) -> None:
    tries: list[Collection[str]] = []

    async def query(connection: AsyncConnection[Any], keys: Collection[str]) -> Mapping[str, str]:
        tries.append(keys)
        if len(tries) == 1:
            await connection.execute("SET LOCAL statement_timeout = '10ms'")
            await connection.execute("SELECT pg_sleep(5)")
        return {key: key.upper() for key in keys}

    outage = Outage("ledger")
    database = AsyncDatabase(database_url, outage)
    names: Lookup[str, str] = Lookup(database, outage, query, 10)
    task = asyncio.create_task(names.run())
    with capture_logs() as logs:
        assert await names.get("ann") == "ANN"
    assert [line["event"] for line in logs] == ["statement_timed_out"]
    await end_tasks([task])
    await database.close()


async def test_the_server_ends_what_a_frozen_process_leaves_idle(servers: RealServers, database_url: str) -> None:
    have_topics(servers.kafka)

    async def bound(connection: AsyncConnection[Any]) -> Any:
        return await (await connection.execute("SHOW idle_in_transaction_session_timeout")).fetchone()

    async with recipient_edge(servers.kafka, database_url) as edge:
        part = edge.part
        databases = [part._links_database, part._new_links_database, *part._origins._databases]
        assert [await database.run(bound) for database in databases] == [("10s",)] * 4

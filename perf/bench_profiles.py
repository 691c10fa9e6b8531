"""`python -m perf.bench_profiles`: what the store of profiles takes in one process, publishes, and imports from a file.

It starts its own Kafka and PostgreSQL (ports 330 above EBBTIDE_PORT_BASE), and removes their data at the end.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from infra.kafka.connection import Connection
from infra.local.layout import PROJECT_ROOT
from infra.postgres.database import AsyncDatabase
from infra.postgres.stores import Store
from infra.service.outages import Outage
from perf.sender_servers import PARTITIONS, SenderServers
from web.profiles.follower import ProfileFollower
from web.profiles.outbox_publisher import OutboxPublisher
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.store import ProfileStore
from web.publication.reader_thread import read_in_thread


def main(
    seconds: Annotated[float, typer.Option(min=1, help="How long callers identify users.")] = 10.0,
    callers: Annotated[int, typer.Option(min=1, help="Calls at the same time.")] = 128,
    users: Annotated[int, typer.Option(min=1, help="Users among whom a call chooses one.")] = 20_000,
    rows: Annotated[int, typer.Option(min=1, help="Rows of the file.")] = 200_000,
) -> None:
    """Measure and print one line of JSON a figure."""
    with SenderServers() as servers:
        servers.fresh(PROJECT_ROOT)
        figures = asyncio.run(_identify(servers, seconds, callers, users))
        print(json.dumps(figures | asyncio.run(_publish(servers))), flush=True)  # noqa: T201
        for name in ("new", "known"):
            print(json.dumps({"import": name, **_import(servers, rows, name)}), flush=True)  # noqa: T201


async def _identify(servers: SenderServers, seconds: float, callers: int, users: int) -> dict[str, Any]:
    write, read = (AsyncDatabase(servers.database_url, Outage("ledger")) for _ in range(2))
    store = ProfileStore(write, read)
    end_s = time.monotonic() + seconds
    latencies: list[float] = []

    async def call(choice: random.Random) -> None:
        while (began_s := time.monotonic()) < end_s:
            number, now_us = choice.randrange(users), time.time_ns() // 1_000
            traits = {"plan": "gold", "city": "Rome", "visits": choice.randrange(1_000), "cart": [1, 2, 3]}
            patch = ProfilePatch(f"u{number}", now_us, "shop", {"address": f"u{number}@shop.example"}, traits)
            await store.store([patch], [IdentityLink(f"a{number}", f"u{number}", now_us)])
            latencies.append(time.monotonic() - began_s)

    before = servers.database_use()
    began_s, cpu_s = time.monotonic(), time.process_time()
    await asyncio.gather(*(call(random.Random(number)) for number in range(callers)))
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - cpu_s
    await store.close()
    database_s = servers.database_use().cpu_s - before.cpu_s
    latencies.sort()
    return {
        "identify_per_s": round(len(latencies) / took_s),
        "cpu_us": round(cpu_s / len(latencies) * 1e6, 1),
        "database_cpu_us": round(database_s / len(latencies) * 1e6, 1),
        "p50_ms": round(latencies[len(latencies) // 2] * 1e3, 1),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1e3, 1),
    }


async def _publish(servers: SenderServers) -> dict[str, Any]:
    """How fast what waits in the outbox is published, beside the follower that reads it again."""
    store = Store(servers.database_url, Outage("ledger"))
    connection, database = Connection(servers.kafka), AsyncDatabase(store.url, store.outage)
    publisher = OutboxPublisher(connection, database, PARTITIONS, Outage("kafka"))
    follow = read_in_thread("follower", store, lambda sync, halt: ProfileFollower(connection, sync, halt, PARTITIONS))
    following = asyncio.create_task(follow)
    waiting = _count(servers, "SELECT count(*) FROM web_outbox")
    while _count(servers, "SELECT count(*) FROM web_progress WHERE caught_up > '-infinity'") < PARTITIONS:
        await asyncio.sleep(0.1)
    began_s = time.monotonic()
    while _count(servers, "SELECT count(*) FROM (SELECT FROM web_outbox LIMIT 1) AS o"):
        await publisher.publish_batch()
    took_s = time.monotonic() - began_s
    following.cancel()
    await asyncio.wait({following})
    await database.close()
    return {"waiting": waiting, "published_per_s": round(waiting / took_s)}


def _import(servers: SenderServers, rows: int, name: str) -> dict[str, Any]:
    """Rows of users who are new, or known from the import before, with another city."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "customers.csv"
        with file.open("w") as lines:
            lines.write("user_id,email,locale,age,city,consent.news.granted,consent.news.time,")
            lines.write("consent.news.method,consent.news.text_version\n")
            for number in range(rows):
                lines.write(
                    f"i{number},i{number}@shop.example,de,{number % 90},{name},true,2026-01-01T00:00:00Z,form,1\n"
                )
        command = [sys.executable, "-m", "cli.main", "import", file, "--json", "--map", "email=address"]
        done = subprocess.run(
            [*map(str, command), "--map", "age=age:number"],
            env=os.environ | {"EBBTIDE_DATABASE_URL": servers.database_url},
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout)
    return {key: found[key] for key in ("rows", "changed", "refused", "seconds", "rows_per_s")}


def _count(servers: SenderServers, query: str) -> int:
    with psycopg.connect(servers.database_url) as connection:
        [[count]] = connection.execute(query.encode()).fetchall()
    return int(count)


if __name__ == "__main__":
    typer.run(main)

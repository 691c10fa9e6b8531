"""HTTP processes are killed while unmodified SDKs send: what was answered 2xx is on the topic, once if sent once."""

import os
import random
import signal
import uuid
from pathlib import Path

import pytest
from drivers.ingest_load import ingest_load
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics, wait_until
from drivers.web_edge import web_edge

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

WORKERS = 2
EVERY_S = 0.01


@pytest.mark.parametrize(
    ("kills", "calls"), [(3, 500), pytest.param(25, 6_000, marks=pytest.mark.slow)], ids=["three", "twenty-five"]
)
def test_a_killed_worker_loses_no_event(
    servers: RealServers, database_url: str, tmp_path: Path, seed: int, kills: int, calls: int
) -> None:
    have_topics(servers.kafka)
    chance = random.Random(seed)
    with web_edge(servers.kafka, database_url, tmp_path) as edge:
        source = f"killed-{uuid.uuid4().hex[:8]}"
        key = edge.new_key(source)
        edge.start(WORKERS)
        with ingest_load(edge, source, key, calls, EVERY_S) as load:
            for _ in range(kills):
                before = load.statuses()[200]
                wait_until(lambda before=before: load.statuses()[200] > before + 20, "calls are answered")
                pid = edge.workers.wait_ready(*range(WORKERS))[chance.randrange(WORKERS)]
                os.kill(pid, signal.SIGKILL)
            load.reports()
        load.require_all_written(edge)
        assert load.statuses().keys() <= {200, 503, 0}
        assert edge.defects() == []

"""The program in docs/runtime.md, run as it stands there."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.real_servers import RealServers

from infra.kafka.progress import Progress
from infra.kafka.topic_reader import read_all

pytestmark = pytest.mark.servers

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "runtime.md"


def test_the_program_of_the_documentation_counts_each_visit_once(
    servers: RealServers, topic_prefix: str, tmp_path: Path
) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "counting.py").write_text(program, encoding="utf-8")
    visits, totals, group = f"{topic_prefix}visits", f"{topic_prefix}totals", f"{topic_prefix}app"
    config = {"message.timestamp.type": "LogAppendTime"}
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    for made in admin.create_topics([NewTopic(topic, 4, 1, config=config) for topic in (visits, totals)]).values():
        made.result(30)
    producer = Producer({"bootstrap.servers": servers.kafka, "partitioner": "murmur2_random"})
    for number in range(3_000):
        producer.produce(visits, b"", f"page-{number % 30}")
    producer.flush(30)
    names = {"KAFKA": servers.kafka, "APP": group, "VISITS": visits, "TOTALS": totals, "DATA": str(tmp_path)}
    log = tmp_path / "worker.log"
    with log.open("ab") as output:
        worker = subprocess.Popen(
            [sys.executable, str(tmp_path / "counting.py")],
            env={**os.environ, "PYTHONPATH": str(ROOT), **names},
            stdout=output,
            stderr=output,
        )
    try:
        with Progress(servers.kafka) as progress:
            while progress.lag(group, (visits,)) > 0:
                assert worker.poll() is None, log.read_text()
    finally:
        worker.terminate()
        assert worker.wait(60) == 0, log.read_text()
    written = Counter((m.key(), m.value()) for m in read_all(servers.kafka, totals))
    assert written == Counter((f"page-{p}".encode(), b"%d" % n) for p in range(30) for n in range(1, 101))

"""Producers in other languages, as a service would write them by the contract in docs/ingest.md."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from drivers.npm_packages import npm_package

from infra.local.layout import Layout

PROGRAMS = Path(__file__).with_name("programs")
KAFKAJS = "2.2.4"
SLOW_S = 120


def publish_from_java(kafka: str, prefix: str, users: Sequence[str]) -> None:
    """An order of each user, by Kafka's own client."""
    if shutil.which("javac") is None:
        pytest.skip("Java's compiler is missing: apt-get install openjdk-17-jdk-headless")
    jars = Layout.of_project().programs / "kafka" / "libs" / "*"
    quiet = "-Dlog4j2.level=WARN"
    _run(["java", quiet, "-cp", str(jars), str(PROGRAMS / "EventProducer.java"), kafka, prefix], users)


def publish_from_node(kafka: str, prefix: str, users: Sequence[str], partitioner: str = "DefaultPartitioner") -> None:
    """An order of each user, by kafkajs with this partitioner of its own."""
    modules = npm_package("kafkajs", KAFKAJS)
    _run(["node", str(PROGRAMS / "event_producer.js"), str(modules), kafka, prefix, partitioner], users)


def _run(command: Sequence[str], users: Sequence[str]) -> None:
    done = subprocess.run(
        command, input="".join(f"{user}\n" for user in users), capture_output=True, encoding="utf-8", timeout=SLOW_S
    )
    assert done.returncode == 0, done.stderr

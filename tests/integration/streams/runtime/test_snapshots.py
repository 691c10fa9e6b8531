"""Workers with snapshots, killed, stopped, frozen and out of disk: they recover from what they saved, and nothing is
lost or doubled."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from drivers.real_servers import RealServers
from drivers.runtime_app import Names
from drivers.runtime_harness import BrokerReader, Crew, Feed, audit, make_topics

pytestmark = [pytest.mark.servers, pytest.mark.slow]

PARTITIONS = 4


class Scene:
    """Workers that save often, the topics of one test, and an eye on both."""

    def __init__(self, kafka: str, prefix: str, folder: Path) -> None:
        self.kafka, self.names, self.folder = kafka, Names(prefix), folder
        make_topics(kafka, self.names, PARTITIONS)
        self.reader = BrokerReader(kafka, self.names, PARTITIONS)
        self.crew = Crew(kafka, prefix, PARTITIONS, folder, RUNTIME_SNAPSHOT_S="0.3")
        self.seed = 0

    def feed(self, events: int = 3_000) -> None:
        self.seed += 1
        feed = Feed(self.kafka, self.names, events, 1e9, self.seed, users=300)
        feed.start()
        feed.join()

    def lines(self, slot: int, event: str) -> list[dict[str, Any]]:
        """The worker's log lines for `event`; those that name a table, only for the users' table."""
        users, text = self.names.changelog, self.crew.log(slot).read_text()
        lines = [json.loads(line[line.find("{") :]) for line in text.splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == event and line.get("topic", users) == users]

    def wait(self, until: Callable[[], object], what: str) -> None:
        end = time.monotonic() + 90
        while not until():
            logs = "\n".join(map(self.crew.tail, self.crew.processes))
            assert time.monotonic() < end, f"never: {what}\n{logs}"
            time.sleep(0.1)

    def wait_committed(self) -> None:
        self.wait(lambda: self.reader.lag() == 0, "all is committed")

    def rounds(self, slot: int) -> int:
        """How many times the worker has written snapshots."""
        return len(self.lines(slot, "snapshots_written"))

    def behind(self) -> int:
        """How many offsets of the users' changelog came after the snapshots."""
        files = (self.folder / "faust").rglob(f"{self.names.changelog}/*.snapshot")
        saved = [int(found[1]) for file in files if (found := re.search(rb'"offset":(\d+)', file.read_bytes()))]
        return self.reader.size(self.names.changelog) - sum(saved)

    def check_recovery(self, slot: int) -> None:
        """Starts the worker again: it takes all snapshots, and reads no more than what came after them."""
        behind, size = self.behind(), self.reader.size(self.names.changelog)
        self.crew.start(slot)
        self.wait(lambda: len(self.lines(slot, "recovered")) >= 2, "it has recovered again")
        recovered = self.lines(slot, "recovered")[1]
        assert recovered["snapshots"] == PARTITIONS
        assert recovered["records"] <= behind < size

    def check(self) -> None:
        """All is committed, every timer has fired, the workers stop in time, and the books are right."""
        self.wait_committed()
        self.wait(lambda: self._quiet() == self._users(), "every user's timer has fired")
        for slot in list(self.crew.processes):
            self.crew.stop(slot)
        found = audit(self.reader, self.names, PARTITIONS)
        assert found.clean, found
        assert found.compared["users"] == self._users()

    def _quiet(self) -> int:
        ids = [json.loads(m.value())["id"] for m in self.reader.all(self.names.commands)]
        return len({name.split("-")[2] for name in ids if name.startswith("quiet-")})

    def _users(self) -> int:
        return len({m.key() for m in self.reader.all(self.names.events) if b"poison" not in m.value()})


@pytest.fixture
def scene(servers: RealServers, topic_prefix: str, tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(servers.kafka, topic_prefix, tmp_path)
    with scene.crew:
        yield scene
    scene.reader.close()


def test_a_worker_that_was_killed_continues_from_its_snapshots(scene: Scene) -> None:
    scene.crew.start(0)
    scene.feed()
    scene.wait_committed()
    scene.wait(lambda: scene.behind() < scene.reader.size(scene.names.changelog) / 4, "snapshots are written")
    scene.feed(100)
    scene.wait_committed()
    scene.crew.kill(0)
    scene.check_recovery(0)
    scene.feed(500)
    scene.check()


def test_a_stop_writes_missing_snapshots_and_still_ends_in_time(scene: Scene) -> None:
    scene.crew.start(0, RUNTIME_SNAPSHOT_S="3600")
    scene.feed()
    scene.wait(lambda: scene.rounds(0), "the first snapshots are written")
    scene.feed()
    scene.wait_committed()
    assert scene.rounds(0) == 1
    scene.crew.stop(0)
    assert scene.rounds(0) == 2
    scene.check_recovery(0)
    scene.check()


def test_a_frozen_worker_writes_no_snapshot_of_a_partition_that_another_continued(scene: Scene) -> None:
    """It wakes with the old state, and could ask where the changelog ends by now. Then all are killed, so that the
    files are what counts."""
    for slot in range(2):
        scene.crew.start(slot)
    scene.crew.wait_until_recovered()
    for _ in range(2):
        scene.feed()
        scene.wait_committed()
        scene.crew.send(0, signal.SIGSTOP)
        scene.feed()
        scene.wait_committed()  # the other has taken over
        rounds = scene.rounds(1)
        scene.feed(600)
        scene.crew.send(0, signal.SIGCONT)
        scene.wait_committed()
        scene.wait(lambda before=rounds: scene.rounds(1) > before, "snapshots are written")
        for slot in range(2):
            scene.crew.kill(slot)
            scene.crew.start(slot)
        scene.crew.wait_until_recovered()
    assert scene.lines(1, "recovered")[-1]["snapshots"] > 0
    scene.feed()
    scene.check()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for Faust's folders and not for a snapshot."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)  # a worker may still be there


def test_a_full_disk_stops_nothing(scene: Scene, small_disk: Path) -> None:
    scene.crew.start(0, RUNTIME_DATA=str(small_disk))
    scene.feed()
    scene.wait(lambda: scene.lines(0, "snapshot_not_written"), "a snapshot cannot be written")
    scene.wait_committed()
    assert "No space left" in scene.lines(0, "snapshot_not_written")[0]["error"]
    scene.crew.kill(0)
    scene.crew.start(0, RUNTIME_DATA=str(small_disk))
    scene.feed()
    scene.check()
    assert [path for path in small_disk.rglob("*") if path.suffix == ".new"] == []

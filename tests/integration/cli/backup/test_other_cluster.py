"""A backup is restored on another Kafka cluster, which knows nothing of what happened since."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import psycopg
import pytest
from drivers.command_line import Done, ebbtide
from drivers.own_broker import own_broker
from drivers.real_servers import RealServers
from drivers.running_senders import a_command, have_topics

from cli.backup.folder import MANIFEST
from infra.kafka.publisher import Publisher
from schemas.topics import CONTROL
from senders.queue import ledger
from senders.queue.ledger import Admission

pytestmark = pytest.mark.servers


class MovedBackup:
    """A backup with a command that had not ended, from a cluster that is gone, and a new cluster and database."""

    def __init__(self, servers: RealServers, kafka: str, database_url: str, folder: Path) -> None:
        self.servers, self.kafka, self.database_url, self.folder = servers, kafka, database_url, folder
        with psycopg.connect(database_url) as connection:
            ledger.admit(connection, [Admission.of(0, a_command("ann", "template"))], datetime.now(UTC))
        made = self.run("backup", "--to", folder)
        assert made.returncode == 0, made.stderr
        manifest = folder / MANIFEST
        manifest.write_bytes(orjson.dumps(orjson.loads(manifest.read_bytes()) | {"cluster": "one that is gone"}))

    def run(self, *arguments: object) -> Done:
        return ebbtide(*arguments, EBBTIDE_KAFKA=self.kafka, EBBTIDE_DATABASE_URL=self.database_url)

    def restore(self, *arguments: object) -> Done:
        """Restores into a new database."""
        self.servers.drop_database(self.database_url)
        self.servers.create_database(self.database_url.rpartition("/")[2])
        return self.run("restore", self.folder, "--json", *arguments)

    def states(self) -> list[tuple[str, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute("SELECT state FROM ledger_queue").fetchall()


@pytest.fixture
def moved(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[MovedBackup]:
    with own_broker(servers, tmp_path) as broker:
        have_topics(broker.address)
        yield MovedBackup(servers, broker.address, database_url, tmp_path / "backup")


def test_commands_without_an_end_are_put_in_doubt_unless_they_may_be_sent(moved: MovedBackup) -> None:
    held = moved.restore()
    assert held.returncode == 0, held.stderr
    report = orjson.loads(held.stdout)
    assert (report["in_doubt"], report["waiting"]) == (1, 0)
    assert moved.states() == [("in_doubt",)]

    sent = orjson.loads(moved.restore("--unanswered", "send").stdout)
    assert (sent["in_doubt"], sent["waiting"]) == (0, 1)
    assert moved.states() == [("admitted",)]


def test_topics_with_records_are_refused_before_anything_is_restored(moved: MovedBackup) -> None:
    with Publisher(moved.kafka) as publisher:
        publisher.send(CONTROL.name, b"a switch", b"{}")
    refused = moved.restore()
    assert (refused.returncode, "the topic control has records already" in refused.stderr) == (2, True)
    assert moved.states() == []

"""`ebbtide run profiles --workers N`: what is stored is published, through a kill, a restart and a stop.

Two installations on one machine do not take each other's names."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka.admin import AdminClient
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.supervised_workers import SupervisedWorkers
from drivers.web_topics import WrittenRecords
from drivers.whole_pipeline import new_topics

from infra.postgres.migrate import migrate
from schemas.topics import PROFILES
from web.profiles.follower import ProfileFollower
from web.profiles.profile_state import NOTHING, encode
from web.profiles.visitors import VisitorReader

pytestmark = pytest.mark.servers

CHANGE = """WITH n AS (INSERT INTO profiles VALUES (%s, nextval('profile_versions'), %s) RETURNING user_id)
    INSERT INTO web_outbox (user_id) SELECT user_id FROM n"""


@pytest.fixture
def url(servers: RealServers, database_url: str) -> str:
    new_topics(servers.kafka)
    migrate(database_url)
    return database_url


@pytest.fixture
def published(servers: RealServers, url: str) -> Iterator[WrittenRecords]:
    records = WrittenRecords(servers.kafka, PROFILES.name)
    records.begin_reader(url, "profiles")
    yield records
    records.close()


def workers(kafka: str, url: str, folder: Path, port: int) -> SupervisedWorkers:
    folder.mkdir()
    variables = {
        "EBBTIDE_KAFKA": kafka,
        "EBBTIDE_DATABASE_URL": url,
        "EBBTIDE_PROFILES_WEB_PORT": str(port),
        "EBBTIDE_PROFILES_DIR": str(folder),
    }
    return SupervisedWorkers("profiles", port, folder / "log", variables)


def change(url: str, user_id: str) -> None:
    """What a call does: a profile changes, and is to be published."""
    with psycopg.connect(url) as connection:
        connection.execute(CHANGE, [user_id, encode(NOTHING)])


def members(kafka: str, group: str) -> set[str]:
    """The names of a group's static members."""
    admin = AdminClient({"bootstrap.servers": kafka})
    [found] = admin.describe_consumer_groups([group]).values()
    return {member.group_instance_id for member in found.result(20).members}


def test_what_is_stored_is_published_through_a_kill_a_restart_and_a_stop(
    servers: RealServers, url: str, published: WrittenRecords, tmp_path: Path
) -> None:
    with workers(servers.kafka, url, tmp_path / "one", servers.ports.profiles_web) as running:
        before = running.two_ready()
        change(url, "u1")
        published.await_count("u1", 1)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda: (state := running.ready(0)) is not None and state["pid"] != before[0], "slot 0 again", 60)
        change(url, "u2")
        published.await_count("u2", 1)
        assert running.cli("profiles", "restart").returncode == 0
        assert not set(before.values()) & set(running.wait_ready(0, 1).values())
        change(url, "u3")
        published.await_count("u3", 1)
        status = json.loads(running.cli("profiles", "status", "--json").stdout)
        assert (status["all_run"], set(status["backlog"]["outbox"])) == (True, {"live", "import"})
        assert "outbox" in running.cli("profiles", "status").stdout
        code, took_s = running.stop()
        assert (code, took_s < 15) == (0, True), running.tail()
        assert not [line for line in running.lines() if line["level"] in ("error", "critical")]


def test_two_installations_on_a_machine_do_not_fence_each_other(servers: RealServers, url: str, tmp_path: Path) -> None:
    with (
        workers(servers.kafka, url, tmp_path / "one", servers.ports.profiles_web) as one,
        workers(servers.kafka, url, tmp_path / "two", free_port()) as two,
    ):
        for each in (one, two):
            each.start()
        pids = [each.wait_ready(0) for each in (one, two)]
        for reader in (ProfileFollower, VisitorReader):
            wait_until(lambda group=reader.group: len(members(servers.kafka, group)) == 2, "both are members")
        assert [each.wait_ready(0) for each in (one, two)] == pids
        assert not [line for line in one.lines() + two.lines() if line["event"] in ("fenced", "worker_ended")]

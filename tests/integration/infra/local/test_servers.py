"""The native servers: started once, found again, and started again after any failure.

They have a home and ports of their own here, so that killing them disturbs no other test.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.local.engine import Endpoints, ServerStatus
from infra.local.kafka.server import KafkaServer
from infra.local.layout import Layout
from infra.local.native import NativeEngine, psql_program
from infra.local.ports import Ports
from infra.local.problems import SetupProblem
from infra.local.server import NativeServer
from infra.local.stop import stop_all
from infra.local.timescale import identity
from infra.local.timescale.server import TimescaleServer
from infra.service.processes import Process, wait_until

pytestmark = pytest.mark.servers

OFFSET = 960  # nothing that may run beside it has ports from there on
MOVED = 970
ELSEWHERE = 980


def ports(offset: int) -> Ports:
    return Ports(Ports.from_env().base + offset)


def layout(home: Path) -> Layout:
    return Layout.of_project().in_own_partition(home)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local-servers")


@pytest.fixture(scope="module")
def _stopped_at_the_end(home: Path) -> Iterator[None]:
    yield
    stop_all(layout(home))


@pytest.fixture
def engine(home: Path, _stopped_at_the_end: None) -> NativeEngine:
    """Both servers, running, also if the test before stopped them."""
    running = NativeEngine(ports(OFFSET), layout(home))
    running.up()
    return running


def pids(engine: NativeEngine) -> list[int | None]:
    return [status.pid for status in engine.status()]


def process(server: NativeServer) -> Process:
    found = server.process()
    assert found is not None
    return found


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def topics(bootstrap: str) -> set[str]:
    return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics)


def make_topic(bootstrap: str, name: str) -> None:
    client = AdminClient({"bootstrap.servers": bootstrap})
    client.create_topics([NewTopic(name, 1, 1)])[name].result(10)


def produce(bootstrap: str, topic: str, timeout_ms: int = 10_000) -> KafkaError | None:
    errors: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": bootstrap, "message.timeout.ms": timeout_ms, "log_level": 0})
    producer.produce(topic, b"one", on_delivery=lambda error, _: errors.append(error))
    producer.flush(15)
    assert len(errors) == 1
    return errors[0]


def test_up_leaves_both_servers_answering(engine: NativeEngine) -> None:
    assert [(status.name, status.state, status.detail) for status in engine.status()] == [
        ("kafka", "running", ""),
        ("timescale", "running", ""),
    ]
    assert execute(engine.endpoints.database_url, "SHOW timescaledb.license") == [("apache",)]
    make_topic(engine.endpoints.kafka, "greetings")
    assert produce(engine.endpoints.kafka, "greetings") is None


def test_the_store_keeps_what_it_acknowledged_and_compiles_no_query(engine: NativeEngine) -> None:
    settings = "fsync", "synchronous_commit", "jit", "timezone", "listen_addresses", "unix_socket_directories"
    values = [execute(engine.endpoints.database_url, f"SHOW {name}")[0][0] for name in settings]
    assert values == ["on", "on", "off", "UTC", "127.0.0.1", ""]


def test_a_misspelt_topic_is_an_error_and_not_a_new_topic(engine: NativeEngine) -> None:
    error = produce(engine.endpoints.kafka, "evnets", timeout_ms=1_500)
    assert error is not None
    assert "evnets" not in topics(engine.endpoints.kafka)


def test_a_second_up_does_nothing_twice(engine: NativeEngine) -> None:
    before, output = pids(engine), []
    assert engine.up(output.append) == []
    assert output == []
    assert pids(engine) == before


def test_timescale_starts_after_kill_9_with_all_committed_rows(engine: NativeEngine) -> None:
    url, killed = engine.endpoints.database_url, process(engine.timescale)
    execute(url, "CREATE TABLE kept AS SELECT 1 AS one")
    os.kill(killed.pid, signal.SIGKILL)
    assert engine.up() == ["timescale"]
    assert execute(url, "SELECT one FROM kept") == [(1,)]
    assert process(engine.timescale).pid != killed.pid


def test_timescale_starts_although_its_pid_file_names_a_living_process(engine: NativeEngine) -> None:
    engine.timescale.kill()
    assert wait_until(lambda: engine.timescale.process() is None, 10.0)
    pid_file = engine.timescale.cluster / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:]]) + "\n")
    assert engine.timescale.start()


def test_kafka_starts_after_kill_9_with_its_topics(engine: NativeEngine) -> None:
    bootstrap, killed = engine.endpoints.kafka, process(engine.kafka)
    make_topic(bootstrap, "kept")
    assert produce(bootstrap, "kept") is None
    os.kill(killed.pid, signal.SIGKILL)
    assert engine.up() == ["kafka"]
    assert "kept" in topics(bootstrap)
    assert produce(bootstrap, "kept") is None


def test_servers_whose_records_are_lost_are_still_found(engine: NativeEngine) -> None:
    before = pids(engine)
    for server in engine.servers:
        engine.layout.record(server.name).unlink()
    assert pids(engine) == before
    assert sorted(engine.down()) == ["kafka", "timescale"]
    assert [status.state for status in engine.status()] == ["stopped", "stopped"]


def test_down_frees_the_ports_and_a_second_down_finds_nothing(engine: NativeEngine) -> None:
    assert engine.down() == ["kafka", "timescale"]
    assert engine.down() == []
    for server in engine.servers:
        server.require_ports()


def test_another_port_base_moves_the_servers_with_their_data(engine: NativeEngine, home: Path) -> None:
    make_topic(engine.endpoints.kafka, "moving")
    execute(engine.endpoints.database_url, "CREATE TABLE moving ()")
    moved, output = NativeEngine(ports(MOVED), layout(home)), []
    assert all("`make up` moves it" in status.detail for status in moved.status())
    try:
        assert sorted(moved.up(output.append)) == ["kafka", "timescale"]
        assert sorted(line.split(" in ")[0] for line in output) == [
            f"kafka: moved to 127.0.0.1:{ports(MOVED).kafka}",
            f"timescale: moved to 127.0.0.1:{ports(MOVED).postgres}",
        ]
        assert "moving" in topics(moved.endpoints.kafka)
        assert execute(moved.endpoints.database_url, "SELECT * FROM moving") == []
    finally:
        moved.down()


def test_a_port_in_use_is_reported_in_one_line_and_nothing_is_started(tmp_path: Path) -> None:
    chosen = ports(ELSEWHERE)
    blocked = NativeEngine(chosen, layout(tmp_path / "home"))
    with socket.create_server(("127.0.0.1", chosen.postgres)), pytest.raises(SetupProblem) as problem:
        blocked.up()
    assert re.fullmatch(
        rf"port {chosen.postgres} for timescale is in use by \S.* \(pid {os.getpid()}\): "
        r"stop that, or move all ports with EBBTIDE_PORT_BASE=\d+",
        str(problem.value),
    )
    assert not (tmp_path / "home").exists()


def test_if_one_server_cannot_start_the_other_is_stopped_again(tmp_path: Path) -> None:
    class Failing(KafkaServer):
        """A broker that is given a heap it cannot have."""

        def command(self) -> list[str | Path]:
            java, *rest = super().command()
            return [java, "-Xmx1k", *rest[2:]]

    engine = NativeEngine(ports(ELSEWHERE), layout(tmp_path))
    engine.kafka = Failing(engine.layout, engine.ports)
    with pytest.raises(SetupProblem, match=r"kafka ended while starting \(.+\): see .*kafka\.log"):
        engine.up()
    assert [status.state for status in engine.status()] == ["stopped", "stopped"]


def test_logs_name_the_server_of_each_line(engine: NativeEngine) -> None:
    lines = list(engine.logs(lines=3))
    assert {line.split(" | ")[0] for line in lines} == {"kafka", "timescale"}
    assert len(lines) <= 6


def test_followed_logs_go_on_with_new_lines(engine: NativeEngine) -> None:
    url = engine.endpoints.database_url
    following = engine.logs(lines=1, follow=True)
    assert next(following).startswith("kafka | ")
    with pytest.raises(psycopg.errors.UndefinedTable):
        execute(url, "SELECT * FROM no_such_thing")
    # Lines of before and other servers' lines may come in between, but the statement is logged, so this ends.
    assert next(line for line in following if "no_such_thing" in line).startswith("timescale | ")


def test_psql_comes_with_the_server(engine: NativeEngine) -> None:
    psql = psql_program(engine.layout.programs)
    command = [psql, "-XAt", engine.endpoints.database_url, "-c", "SELECT 1"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"


@pytest.mark.usefixtures("engine")
def test_stop_all_stops_servers_whatever_their_ports(home: Path) -> None:
    assert stop_all(layout(home)) == [f"{home}: kafka", f"{home}: timescale"]
    assert stop_all(layout(home)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
class TestWithoutUserNamespaces:
    """Root, where the kernel refuses user namespaces: PostgreSQL runs as another user, who owns its data."""

    @pytest.fixture(autouse=True)
    def _refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(identity, "NAMESPACE", ("false",))

    @pytest.fixture
    def open_directory(self) -> Iterator[Path]:
        directory = Path(tempfile.mkdtemp(prefix="ebbtide-"))
        directory.chmod(0o755)
        yield directory
        shutil.rmtree(directory)

    def test_the_server_runs_as_that_user(self, open_directory: Path) -> None:
        server = TimescaleServer(layout(open_directory), ports(ELSEWHERE))
        try:
            assert server.start()
            assert Path(f"/proc/{process(server).pid}").stat().st_uid != 0
            server.kill()
            assert server.start()
            url = Endpoints.on(ports(ELSEWHERE)).database_url
            assert execute(url, "SELECT 1") == [(1,)]
        finally:
            server.stop()

    def test_a_directory_that_the_user_cannot_reach_is_reported_in_one_line(self, open_directory: Path) -> None:
        open_directory.chmod(0o700)
        server = TimescaleServer(layout(open_directory), ports(ELSEWHERE))
        with pytest.raises(SetupProblem, match=r"must not run as root, and user \w+ cannot reach .*: move the project"):
            server.start()
        assert server.status() == ServerStatus("timescale", "stopped", f"127.0.0.1:{server.port}")
        assert not (open_directory / "data" / "timescale").exists()

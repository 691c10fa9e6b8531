"""`ebbtide run web --workers N`: the processes share a port, and a restart, a kill and a stop lose no event."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.running_web import basic, new_key, records
from drivers.supervised_workers import SupervisedWorkers
from drivers.whole_pipeline import new_topics

from web.keys.write_key import KeyClass

pytestmark = pytest.mark.servers


class Senders:
    """Clients that send one event after the other, on connections that they keep, and repeat none."""

    def __init__(self, port: int, key: str, clients: int = 8) -> None:
        self.acknowledged: set[str] = set()
        self.broken = 0
        self.answers: set[int] = set()
        self._port = port
        self._key = key
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _send(self, client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        number = 0
        while not self._stop.is_set():
            number += 1
            user = f"client-{client}-{number}"
            body = json.dumps({"userId": user, "event": "e", "messageId": user})
            try:
                connection.request("POST", "/v1/track", body, {"Authorization": basic(self._key)})
                answer = connection.getresponse()
                answer.read()
            except (http.client.HTTPException, OSError):
                self.broken += 1
                connection.close()
                continue
            self.answers.add(answer.status)
            if answer.status == 200:
                self.acknowledged.add(user)

    def stop(self) -> None:
        """Ends them after their last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
def workers(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[tuple[SupervisedWorkers, int, str]]:
    new_topics(servers.kafka)
    key, port, pages = new_key(database_url, KeyClass.SERVER), free_port(), servers.ports.http_web
    variables = {
        "EBBTIDE_KAFKA": servers.kafka,
        "EBBTIDE_DATABASE_URL": database_url,
        "EBBTIDE_HTTP_PORT": str(port),
        "EBBTIDE_HTTP_WEB_PORT": str(pages),
        "EBBTIDE_WEB_DIR": str(tmp_path),
    }
    with SupervisedWorkers("web", pages, tmp_path / "log", variables) as running:
        yield running, port, key


def test_a_rolling_restart_a_kill_and_a_stop_lose_no_event(
    workers: tuple[SupervisedWorkers, int, str], servers: RealServers
) -> None:
    running, port, key = workers
    before = running.two_ready()
    senders = Senders(port, key)
    wait_until(lambda: len(senders.acknowledged) > 100, "events are acknowledged")
    assert running.cli("web", "restart").returncode == 0
    after = running.wait_ready(0, 1)
    assert not set(before.values()) & set(after.values())
    assert senders.answers == {200}
    assert senders.broken == 0, "a restart breaks no connection in use"
    os.kill(after[0], signal.SIGKILL)
    wait_until(lambda: (state := running.ready(0)) is not None and state["pid"] != after[0], "slot 0 again", 60)
    count = len(senders.acknowledged)
    wait_until(lambda: len(senders.acknowledged) > count + 100, "events are acknowledged again")
    found = running.cli("web", "status", "--json")
    assert (found.returncode, json.loads(found.stdout)["all_run"]) == (0, True), found.stderr
    status, took_s = running.stop()
    senders.stop()
    assert (status, took_s < 15) == (0, True), running.tail()
    assert senders.answers == {200}
    ids = [json.loads(message.value())["user_id"] for message in records(servers.kafka)]
    assert len(ids) == len(set(ids))
    assert senders.acknowledged <= set(ids)
    assert not [line for line in running.lines() if line["level"] in ("error", "critical")]


def test_a_port_in_use_is_named(workers: tuple[SupervisedWorkers, int, str]) -> None:
    running, port, _ = workers
    running.start("--workers", "1")
    running.wait_ready(0)
    refused = running.program("run", "web", EBBTIDE_WEB_DIR=str(running.log.parent / "other"))
    assert refused.returncode == 2
    assert f"port {port} for HTTP is in use" in refused.stderr
    assert running.stop()[0] == 0

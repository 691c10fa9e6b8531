"""Visitors log in while HTTP processes and profile workers are killed: each event reaches its user, none of them as
another event, and once unless a kill came between its publication and the note of it."""

import json
import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import psycopg
import pytest
from drivers.free_ports import free_port
from drivers.limits import HANGS_AFTER_S
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until
from drivers.running_web import RunningWeb, new_key
from drivers.warm_interpreter import WarmProcess, WarmProgram
from drivers.web_topics import WrittenRecords, publish

from infra.local.holders import answers
from schemas.topics import EVENTS, PROFILES
from web.keys.write_key import KeyClass
from web.settings import WebSettings

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

PROGRAM = (
    "import sys; from infra.service.health import WorkerIdentity; from {app} import main; "
    "from web.settings import {settings}; main({settings}(), WorkerIdentity(int(sys.argv[1]), 0, int(sys.argv[2])))"
)
PROGRAMS = (("web.app", "WebSettings"), ("web.publication.app", "ProfileSettings"))
KILLS = 4
VISITORS = 15 * (KILLS + 1)
MARKED = [("ebbtide-anonymous", b"1")]


class WebProcesses:
    """Two HTTP processes that share a port, and two profile workers. A killed one is started again in its slot."""

    def __init__(self, web: RunningWeb, log: Path) -> None:
        self._log = log
        settings = {"KAFKA": web.settings.kafka, "DATABASE_URL": web.settings.database_url}
        self._variables = os.environ | {
            f"EBBTIDE_{name}": value for name, value in (settings | {"HTTP_PORT": str(web.settings.http_port)}).items()
        }
        self._pages = {(*program, slot): free_port() for program in PROGRAMS for slot in range(2)}
        self._processes = {place: self._start(*place) for place in self._pages}

    def _start(self, app: str, settings: str, slot: int) -> WarmProcess:
        arguments = (str(slot), str(self._pages[app, settings, slot]))
        program = WarmProgram(app, PROGRAM.format(app=app, settings=settings), arguments)
        return program.run(self._variables, self._log)

    def kill(self, slot: int) -> None:
        """Ends a process of each kind by SIGKILL, and starts others in their place."""
        for place in [(*program, slot) for program in PROGRAMS]:
            self._processes[place].send_signal(signal.SIGKILL)
            self._processes[place].wait(HANGS_AFTER_S)
            self._processes[place] = self._start(*place)

    def end(self) -> None:
        """Stops all."""
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in self._processes.values()] == [0, 0, 0, 0]


@contextmanager
def web_processes(servers: RealServers, url: str, folder: Path) -> Iterator[tuple[RunningWeb, WebProcesses]]:
    web = RunningWeb(
        WebSettings(kafka=servers.kafka, database_url=url, http_port=free_port()), new_key(url, KeyClass.SERVER), ""
    )
    processes = WebProcesses(web, folder / "web.log")
    try:
        wait_until(lambda: answers(web.settings.http_port), "a process listens")
        yield web, processes
    finally:
        processes.end()


def identify(web: RunningWeb, visitor: str) -> None:
    """Says who a visitor is, as often as it takes to be answered with 200."""

    def told() -> bool:
        with suppress(OSError, HTTPException):
            body = {"userId": f"user of {visitor}", "anonymousId": visitor, "traits": {"plan": "gold"}}
            return web.ask("/v1/identify", body).status == 200
        return False

    wait_until(told, "an identify is answered")


def test_each_event_reaches_its_user_and_none_as_another(
    servers: RealServers, database_url: str, tmp_path: Path, seed: int
) -> None:
    choice = random.Random(seed)
    run = f"{seed}-{os.getpid()}"
    visitors = [f"visitor {run} {number}" for number in range(VISITORS)]
    events, profiles = WrittenRecords(servers.kafka, EVENTS.name), WrittenRecords(servers.kafka, PROFILES.name)
    events.begin_reader(database_url, "visitors")
    profiles.begin_reader(database_url, "profiles")
    sent: dict[str, list[str]] = defaultdict(list)

    def browse(number: int) -> None:
        """Some visitors do something."""
        records = []
        for visitor in choice.sample(visitors, 30):
            sent[visitor].append(f"{visitor}#{number}")
            event = {
                "id": sent[visitor][-1],
                "type": "cart_updated",
                "user_id": visitor,
                "time": "2026-11-29T10:00:00Z",
            }
            records.append((visitor, json.dumps(event).encode(), MARKED))
        publish(servers.kafka, EVENTS.name, records)

    with web_processes(servers, database_url, tmp_path) as (web, processes):
        for number in range(KILLS + 1):
            browse(2 * number)
            for visitor in visitors[number * 15 : number * 15 + 15]:
                identify(web, visitor)
            browse(2 * number + 1)
            if number < KILLS:
                processes.kill(number % 2)
        expected = {f"user of {visitor}": sorted(ids) for visitor, ids in sent.items()}

        def arrived() -> bool:
            return all(
                set(ids) <= {json.loads(record.value())["id"] for record in events.of(user)}
                for user, ids in expected.items()
            )

        wait_until(arrived, "the events of all users")
        wait_until(lambda: all(profiles.of(f"user of {visitor}") for visitor in visitors), "their profiles")
        wait_until(lambda: _waiting(database_url) == 0, "an empty outbox")
    for user, ids in expected.items():
        values = Counter(record.value() for record in events.of(user))
        assert sorted(json.loads(value)["id"] for value in values) == ids
        assert all(json.loads(value)["user_id"] == user for value in values)
        for value, times in values.items():
            kills_since = KILLS - int(json.loads(value)["id"].partition("#")[2]) // 2
            assert times <= 1 + kills_since, value
    events.close()
    profiles.close()


def _waiting(url: str) -> int:
    with psycopg.connect(url) as connection:
        [[count]] = connection.execute("SELECT count(*) FROM web_outbox").fetchall()
    return int(count)

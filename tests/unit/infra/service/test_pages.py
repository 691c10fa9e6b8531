"""The pages that every process answers: who it is, whether it is ready, and whether it lives."""

import asyncio
import json
import os
from collections.abc import Collection
from importlib.metadata import version

import pytest
from drivers.free_ports import free_port
from drivers.pages import get

from infra.service.health import Health, Phase, State
from infra.service.pages import Pages, PageServer


class SetHealth(Health):
    """Health as the test sets it."""

    def __init__(self) -> None:
        super().__init__(slot=2, restarts=1)
        self.now = State(Phase.READY, None)
        self.problem: str | None = None

    def state(self) -> State:
        return self.now

    def why_unhealthy(self) -> str | None:
        return self.problem

    def held_partitions(self) -> Collection[int]:
        return {3, 1}


@pytest.fixture
def health() -> SetHealth:
    return SetHealth()


@pytest.fixture
def pages(health: SetHealth) -> Pages:
    return Pages(health, lambda: b"up 1\n", lambda: {"partitions": []})


def test_a_ready_process_says_so_with_its_partitions(pages: Pages) -> None:
    status, found = pages.ready()
    assert status == 200
    assert found == {
        "ready": True,
        "reason": None,
        "partitions": [1, 3],
        "slot": 2,
        "pid": os.getpid(),
        "state": "ready",
    }


def test_a_process_that_is_not_ready_gives_the_reason(pages: Pages, health: SetHealth) -> None:
    health.now = State(Phase.WAITING, "waits for kafka")
    status, found = pages.ready()
    assert (status, found["ready"], found["reason"], found["state"]) == (503, False, "waits for kafka", "waiting")
    assert pages.health()[0] == 200, "a restart would not help"


def test_a_process_that_only_a_restart_can_fix_is_unhealthy(pages: Pages, health: SetHealth) -> None:
    health.problem = "stalled: worker"
    status, found = pages.health()
    assert (status, found["healthy"], found["reason"]) == (503, False, "stalled: worker")


def test_the_status_describes_the_process_and_its_work(pages: Pages) -> None:
    status, found = pages.status()
    assert status == 200
    assert (found["version"], found["restarts"], found["partitions"]) == (version("ebbtide"), 1, [])
    assert found["uptime_s"] >= 0
    assert found["memory_bytes"] > 1_000_000


async def test_the_server_answers_on_loopback_until_it_is_stopped(pages: Pages) -> None:
    port = free_port()
    server = PageServer(pages, port)
    await server.start()

    async def fetch(page: str) -> tuple[int, str]:
        answer = await asyncio.to_thread(get, port, page)
        assert answer is not None
        return answer

    assert json.loads((await fetch("/health"))[1])["healthy"] is True
    assert (await fetch("/ready"))[0] == (await fetch("/status"))[0] == 200
    assert await fetch("/metrics") == (200, "up 1\n")
    assert (await fetch("/table/"))[0] == 404
    with pytest.raises(OSError, match="address already in use"):
        await PageServer(pages, port).start()
    await server.stop()
    assert await asyncio.to_thread(get, port, "/health") is None

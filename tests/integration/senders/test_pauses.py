"""Pauses in delivery: what waits is held or discarded within two seconds, and goes out at the end of the pause."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import Harbour, a_command, harbour, have_topics, wait_until
from drivers.slow_receiver import SlowReceiver, in_place_of_the_sink

from cli.operations.control import publish_switch
from infra.kafka.publisher import Publisher
from schemas.commands import SendCommand
from schemas.rules import Control
from schemas.topics import COMMANDS, CONTROL
from schemas.vocabulary import LedgerState, PauseMode

pytestmark = pytest.mark.servers

EFFECT_S = 2.0
Switch = Callable[..., Control]


@pytest.fixture
def delivery(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    yield from harbour(servers.kafka, database_url, tmp_path, connections=2)


@pytest.fixture
def switch(servers: RealServers) -> Iterator[Switch]:
    """Publishes switches. Every scope is resumed at the end: the topic outlives the test."""
    scopes: set[str] = set()

    def publish(scope: str, *, paused: bool = True, **more: Any) -> Control:
        scopes.add(scope)
        return publish_switch(servers.kafka, scope, paused=paused, **more)

    yield publish
    for scope in scopes:
        publish_switch(servers.kafka, scope, paused=False)


def publish_commands(delivery: Harbour, count: int, **changes: Any) -> list[SendCommand]:
    """All of triggers whose names begin with `pause`: earlier tests may have left others on the topic."""
    template, changes = delivery.publish_template(), {"trigger": "pause"} | changes
    commands = [a_command(delivery.publish_user(), template, **changes) for _ in range(count)]
    for command in commands:
        delivery.publish_soon(COMMANDS.name, command.user_id, command)
    delivery.flush()
    return commands


def states(delivery: Harbour) -> Counter[Any]:
    return Counter(delivery.rows("SELECT state, reason, attempt FROM ledger WHERE starts_with(trigger, 'pause')"))


def wait_for_states(delivery: Harbour, expected: Counter[Any]) -> None:
    with suppress(AssertionError):  # the next line says more
        wait_until(lambda: states(delivery) == expected, "the states")
    assert states(delivery) == expected


def test_a_pause_holds_a_backlog_within_two_seconds_and_a_resume_sends_it(delivery: Harbour, switch: Switch) -> None:
    with in_place_of_the_sink(delivery, SlowReceiver) as receiver:
        delivery.start()
        publish_commands(delivery, 20)
        wait_until(lambda: len(receiver.begun) >= 2, "the first mails")
        switch("global")
        paused_s = time.time()

        def all_wait() -> bool:
            found = states(delivery)
            return found["admitted", "paused", 0] + found["accepted", None, 1] == 20

        wait_until(all_wait, "what has not begun waits")
        assert states(delivery)["admitted", "paused", 0] > 0
        assert max(receiver.begun.values()) - paused_s < EFFECT_S
        switch("global", paused=False)
        wait_for_states(delivery, Counter({("accepted", None, 1): 20}))


def test_discarded_commands_end_as_suppressed_and_others_go_on(delivery: Harbour, switch: Switch) -> None:
    switch("trigger/pause-a", mode=PauseMode.DISCARD)
    switch("delivery/trigger/pause-b")
    publish_commands(delivery, 3, trigger="pause-a")
    held = publish_commands(delivery, 3, trigger="pause-b")
    publish_commands(delivery, 3, trigger="pause-c")
    delivery.start()
    expected = {("suppressed", "discarded", 0): 3, ("admitted", "paused", 0): 3, ("accepted", None, 1): 3}
    wait_for_states(delivery, Counter(expected))
    found = delivery.rows(
        "SELECT DISTINCT detail, next_attempt_at FROM ledger WHERE reason = 'paused' AND trigger = 'pause-b'"
    )
    assert sorted(until for _, until in found) == sorted(command.expires_at for command in held)
    assert all(str(detail).startswith("delivery/trigger/pause-b (switch ") for detail, _ in found)
    switch("delivery/trigger/pause-b", mode=PauseMode.DISCARD)
    wait_for_states(delivery, Counter({("suppressed", "discarded", 0): 6, ("accepted", None, 1): 3}))


def test_a_pause_outlives_the_worker_and_so_does_a_resume(delivery: Harbour, switch: Switch) -> None:
    switch("delivery/purpose/marketing")
    publish_commands(delivery, 3)
    for _ in range(2):
        delivery.start()
        wait_for_states(delivery, Counter({("admitted", "paused", 0): 3}))
        delivery.stop()
    switch("delivery/purpose/marketing", paused=False)
    delivery.start()
    wait_for_states(delivery, Counter({("accepted", None, 1): 3}))


def test_a_pause_with_an_end_ends_by_itself(delivery: Harbour, switch: Switch) -> None:
    delivery.start()
    until = datetime.now(UTC) + timedelta(seconds=3)
    switch("delivery/domain/example.net", until=until)
    publish_commands(delivery, 2)
    wait_for_states(delivery, Counter({("accepted", None, 1): 2}))
    assert delivery.rows("SELECT min(started_at) FROM ledger WHERE trigger = 'pause'")[0][0] >= until


def test_a_drain_sends_what_was_admitted_before_and_holds_the_rest(delivery: Harbour, switch: Switch) -> None:
    switch("delivery/trigger/pause")
    publish_commands(delivery, 2)
    delivery.start()
    wait_for_states(delivery, Counter({("admitted", "paused", 0): 2}))
    switch("delivery/trigger/pause", mode=PauseMode.DRAIN)
    wait_for_states(delivery, Counter({("accepted", None, 1): 2}))
    publish_commands(delivery, 2)
    wait_for_states(delivery, Counter({("accepted", None, 1): 2, ("admitted", "paused", 0): 2}))


def test_a_paused_command_expires(delivery: Harbour, switch: Switch) -> None:
    switch("delivery")
    delivery.start()
    publish_commands(delivery, 1, expires_at=datetime.now(UTC) + timedelta(seconds=2))
    wait_for_states(delivery, Counter({("expired", None, 0): 1}))


def test_an_unreadable_switch_and_an_older_one_change_nothing(
    delivery: Harbour, switch: Switch, capfd: pytest.CaptureFixture[str]
) -> None:
    delivery.start()
    held = switch("delivery/trigger/pause")
    older = held.model_copy(update={"number": held.number - 1, "paused": False})
    with Publisher(delivery.kafka) as publisher:
        for wrong in (b"{", older.model_dump_json().encode()):
            publisher.send(CONTROL.name, held.scope.encode(), wrong)
    switch("delivery/trigger/other", paused=False)
    publish_commands(delivery, 2)
    wait_for_states(delivery, Counter({(LedgerState.ADMITTED.value, "paused", 0): 2}))
    assert capfd.readouterr().out.count("switch_ignored") >= 2

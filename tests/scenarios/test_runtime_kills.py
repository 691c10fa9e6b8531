"""Workers of the runtime killed, stopped and woken at random: nothing is lost, doubled or out of order.

Two controls make the mistakes that exactly-once must not survive, and have to be reported: a check that cannot fail
proves nothing. RUNTIME_SEED runs one again.
"""

import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from drivers.real_servers import RealServers
from drivers.runtime_app import Names
from drivers.runtime_harness import Audit, BrokerReader, Crew, Feed, audit, make_topics

pytestmark = [pytest.mark.servers, pytest.mark.scenario, pytest.mark.slow]

PARTITIONS = 8
SEED = int(os.environ.get("RUNTIME_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)


@dataclass
class KillPlan:
    """One run: how much, how many workers, and what happens to them."""

    events: int = 60_000
    per_s: float = 6_000
    workers: int = 3
    kills: int = 6
    freezes: int = 1
    terms: int = 1
    within_s: float = 150.0


def run(kafka: str, prefix: str, folder: Path, plan: KillPlan) -> Audit:
    """Plays the plan, waits until everything is committed, stops the workers and audits."""
    names, chance = Names(prefix), random.Random(SEED)
    make_topics(kafka, names, PARTITIONS)
    reader = BrokerReader(kafka, names, PARTITIONS)
    feed = Feed(kafka, names, plan.events, plan.per_s, SEED)
    with Crew(kafka, prefix, PARTITIONS, folder, RUNTIME_SLOW_S="0.00002", RUNTIME_SNAPSHOT_S="0.5") as crew:
        for slot in range(plan.workers):
            crew.start(slot)
        feed.start()
        end = time.monotonic() + plan.within_s
        _trouble(crew, chance, plan, time.monotonic() + plan.events / plan.per_s)
        feed.join()
        _settle(crew, reader, end)
        for slot in list(crew.processes):
            crew.stop(slot)
    try:
        return audit(reader, names, PARTITIONS)
    finally:
        reader.close()


def _trouble(crew: Crew, chance: random.Random, plan: KillPlan, end: float) -> None:
    actions = ["kill"] * plan.kills + ["freeze"] * plan.freezes + ["term"] * plan.terms
    chance.shuffle(actions)
    pause_s = max(0.5, (end - time.monotonic() - 3) / max(1, len(actions)))
    crew.wait_until_recovered()
    for action in actions:
        crew.revive()
        slot = chance.choice(list(crew.processes))
        if chance.random() < 0.7:
            crew.wait_until_recovered(slot)  # else it may die while it starts, recovers or waits for a rebalance
        if action == "kill":
            crew.kill(slot)
            crew.start(slot)
        elif action == "term":
            crew.stop(slot, within_s=10.0)
            crew.start(slot)
        else:
            crew.send(slot, signal.SIGSTOP)
            time.sleep(8.0)  # longer than the session: it wakes as a zombie
            crew.send(slot, signal.SIGCONT)
        time.sleep(pause_s * chance.uniform(0.5, 1.0))


def _settle(crew: Crew, reader: BrokerReader, end: float) -> None:
    """Waits until all is committed and every timer has fired."""
    quiet_since = None
    while time.monotonic() < end:
        crew.revive()
        if reader.lag() == 0:
            quiet_since = quiet_since or time.monotonic()
            if time.monotonic() - quiet_since > 3.0:
                return
        else:
            quiet_since = None
        time.sleep(0.2)
    raise AssertionError(
        f"not everything was committed; lag {reader.lag()}\n" + "\n".join(map(crew.tail, crew.processes))
    )


def test_nothing_is_lost_or_doubled_when_workers_are_killed(
    servers: RealServers, topic_prefix: str, tmp_path: Path
) -> None:
    found = run(servers.kafka, topic_prefix, tmp_path, KillPlan())
    assert found.clean, f"seed {SEED}: {found}"
    assert found.compared["commands"] > 10_000


@dataclass(frozen=True)
class Mistake:
    """One control: how the worker is built, and where it dies so that the mistake shows."""

    control: str
    failpoint: str


def _die_and_recover(kafka: str, prefix: str, folder: Path, mistake: Mistake) -> Audit:
    names = Names(prefix)
    make_topics(kafka, names, PARTITIONS)
    reader = BrokerReader(kafka, names, PARTITIONS)
    quiet = {"RUNTIME_SNAPSHOT_S": "0"}  # their checkpoints would count with those that a failpoint waits for
    with Crew(kafka, prefix, PARTITIONS, folder, RUNTIME_CONTROL=mistake.control, **quiet) as crew:
        for seed in range(3):
            feed = Feed(kafka, names, 3_000, 1e9, seed)
            feed.start()
            feed.join()
            doomed = crew.start(0, EBBTIDE_FAILPOINT=mistake.failpoint)
            assert doomed.wait(60) == -signal.SIGKILL, crew.tail(0)
        crew.start(0)
        _settle(crew, reader, time.monotonic() + 90)
        crew.stop(0)
    try:
        return audit(reader, names, PARTITIONS)
    finally:
        reader.close()


def test_an_agent_that_awaits_inside_a_batch_is_made_harmless_by_the_gate(
    servers: RealServers, topic_prefix: str, tmp_path: Path
) -> None:
    found = _die_and_recover(servers.kafka, topic_prefix, tmp_path, Mistake("awaiting", "after_commit:2"))
    assert found.clean, found


@pytest.mark.parametrize(
    "mistake",
    [Mistake("split", "after_commit:3"), Mistake("awaiting-unguarded", "after_commit:2")],
    ids=["offsets in a second transaction", "an agent that awaits inside a batch, and no gate"],
)
def test_the_audit_reports_violations_of_exactly_once(
    servers: RealServers, topic_prefix: str, tmp_path: Path, mistake: Mistake
) -> None:
    found = _die_and_recover(servers.kafka, topic_prefix, tmp_path, mistake)
    assert found.wrong, "the audit did not see the mistake"

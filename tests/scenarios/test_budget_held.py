"""Three delivery workers share a budget; one is killed while it admits commands and sends mails."""

import json
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from drivers.running_senders import SOURCE, Harbour, a_command, harbour, have_topics, parsed, wait_until
from drivers.warm_interpreter import WarmProcess, run_warm

from schemas.budgets import Budget
from schemas.topics import COMMANDS
from schemas.vocabulary import TRANSACTIONAL

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

COMMANDS_SENT, MAX, RELEASED = 900, 200, 100
TRIGGER = f"hello-{uuid.uuid4().hex[:8]}"
"""Another test may have left commands of its own on the topic."""
BUDGET = Budget(name=f"trigger/{TRIGGER}", max=MAX, per_ms=86_400_000)


def publish(here: Harbour, template: str, first: int, last: int) -> set[str]:
    made = [
        a_command(f"u{n}", template, trigger=TRIGGER, purpose=TRANSACTIONAL, to=f"a{n}@mail.example", budgets=(BUDGET,))
        for n in range(first, last)
    ]
    for each in made:
        here.publish_soon(COMMANDS.name, each.user_id, each)
    here.flush()
    return {each.id for each in made}


def states(here: Harbour) -> Counter[tuple[str, str | None]]:
    rows = here.rows("SELECT state, reason FROM ledger WHERE trigger = %s", TRIGGER)
    return Counter((state, reason) for state, reason in rows)


def finished(found: Counter[tuple[str, str | None]]) -> int:
    return sum(count for (state, _), count in found.items() if state in ("accepted", "in_doubt"))


@pytest.fixture
def here(servers: RealServers, database_url: str, tmp_path: Path) -> Iterator[Harbour]:
    have_topics(servers.kafka)
    yield from harbour(servers.kafka, database_url, tmp_path, in_doubt={})


def test_no_more_than_the_budget_is_sent_and_a_person_decides_about_the_rest(here, tmp_path):
    template = here.publish_template()

    def worker(name: str) -> WarmProcess:
        others = {"EBBTIDE_SENDERS_WEB_PORT": str(free_port())}
        return run_warm("senders.app", SOURCE, here.variables | others, tmp_path / f"{name}.log")

    workers = [worker(name) for name in ("one", "two", "three")]
    try:
        ids = publish(here, template, 0, COMMANDS_SENT // 2)
        wait_until(lambda: finished(states(here)) >= 20, "mails go out", 120)
        workers[0].send_signal(signal.SIGKILL)
        ids |= publish(here, template, COMMANDS_SENT // 2, COMMANDS_SENT)
        workers.append(worker("four"))
        held = ("admitted", "budget")
        wait_until(lambda: sum(states(here).values()) == COMMANDS_SENT, "all are in the ledger", 120)
        wait_until(lambda: finished(states(here)) == MAX, "what the budget allows has gone out", 120)
        assert states(here)[held] == COMMANDS_SENT - MAX
        mailed = Counter(
            mail["X-Ebbtide-Command"]
            for mail in (parsed(each.raw) for each in here.sink.messages())
            if mail["X-Ebbtide-Command"] in ids
        )
        assert len(mailed) <= MAX
        assert max(mailed.values()) == 1
        assert "budget_exceeded" in "".join(file.read_text() for file in tmp_path.glob("*.log"))

        shown = here.command("budgets")
        assert (shown.returncode, f"{COMMANDS_SENT - MAX}" in shown.stdout) == (1, True)
        why = ("--reason", "meant so", "--by", "ada")
        released = here.command("budgets", "release", BUDGET.name, "--most", str(RELEASED), *why)
        assert released.returncode == 0, released.stderr
        wait_until(lambda: finished(states(here)) == MAX + RELEASED, "the released ones have gone out", 120)
        discarded = here.command("budgets", "discard", BUDGET.name, *why, "--json")
        assert (discarded.returncode, json.loads(discarded.stdout)["discarded"]) == (
            0,
            COMMANDS_SENT - MAX - RELEASED,
        )
        assert states(here)["suppressed", "discarded"] == COMMANDS_SENT - MAX - RELEASED
        assert here.command("budgets").returncode == 0
        audited = [json.loads(entry) for (entry,) in here.rows("SELECT entry FROM audit_log ORDER BY number")]
        whats = [entry["what"] for entry in audited if entry["subject"] == f"budget {BUDGET.name}"]
        assert whats == ["budgets released", "budgets discarded"]
    finally:
        for process in workers:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait(30)

"""The benchmark of delivery, without its servers: its goals, its mails, and what stands beside it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from perf import sender_mails
from perf.bench_senders import OLD, SendersRun, goals
from perf.results import append
from perf.sender_path import PathCost
from perf.sender_peers import OtherSender, a_message, signing
from senders.content.render import parse_template


def path(contender: str, size_kb: int, per_cpu_s: float, processes: int = 1) -> PathCost:
    return PathCost(
        contender=contender,
        size_kb=size_kb,
        processes=processes,
        mails=100,
        sender_ms=1.0,
        postgres_ms=0.3,
        per_cpu_s=per_cpu_s,
        mails_per_s=600.0,
        wal_bytes=4000,
        ledger_wal_bytes=2400,
        settled_row_bytes=300,
        problems=[],
    )


@pytest.fixture
def run() -> SendersRun:
    return SendersRun(
        at=datetime(2026, 1, 5, tzinfo=UTC),
        revision="x",
        machine={},
        versions={},
        load=0.1,
        settings={},
        paths=[path("ebbtide", 10, 720), path(f"ebbtide {OLD}", 10, 360), path("ebbtide", 50, 400)],
        peers=[OtherSender(name="naive: x", size_kb=10, tls=True, mails=10, per_cpu_s=100, mails_per_s=50)],
    )


def test_goals_are_judged_against_what_was_measured_beside(run: SendersRun) -> None:
    found = {goal.what: (goal.measured, goal.met) for goal in goals(run)}
    assert found["10 KB, messages per CPU-second"] == (720, True)
    assert found[f"10 KB, of {OLD}"] == (2.0, True)
    assert found["10 KB, of naive"] == (7.2, False)
    assert found["50 KB, messages per CPU-second"] == (400, False)
    assert found[f"50 KB, of {OLD}"] == (None, None)
    assert found["1 process(es)"] == (600, True)
    assert found["2 process(es)"] == (None, None)
    assert found["a settled row"] == (300, True)


def test_a_run_that_was_appended_can_be_read_again_and_names_its_problems(run: SendersRun, tmp_path: Path) -> None:
    run.paths[0].problems.append("1 lost")
    append(run, tmp_path / "senders.jsonl")
    assert SendersRun.model_validate_json((tmp_path / "senders.jsonl").read_text()).problems == ["ebbtide: 1 lost"]


@pytest.mark.parametrize("size_kb", [10, 50])
def test_a_mail_has_about_the_size_that_it_is_named_by(size_kb: int) -> None:
    parse_template("cart", sender_mails.template(size_kb))
    assert len(bytes(a_message(size_kb))) == pytest.approx(size_kb * 1000, rel=0.15)


def test_signing_is_measured_beside_the_rsa_operation() -> None:
    found = signing(10, rounds=1, times=3)
    assert found.rsa_us > 0
    assert found.signed_us < found.signed_twice_us * 2
    assert found.ratio == pytest.approx(found.signed_us / found.rsa_us, rel=0.01)

"""`ebbtide senders status`, and that of other workers, where nothing runs."""

from pathlib import Path

import pytest

from cli.environment import PUBLICATION, SENDERS, Environment
from cli.operations.worker_status import look


def test_every_problem_is_named_and_which_database_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBBTIDE_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("EBBTIDE_DATABASE_URL", "postgresql://postgres@127.0.0.1:1/ebbtide")
    monkeypatch.setenv("EBBTIDE_LEDGER_URL", "postgresql://postgres@127.0.0.1:1/ledger")
    database, broker, worker = look(Environment.of(root=tmp_path), SENDERS).problems
    assert database.startswith("the ledger's database does not answer (")
    assert broker.startswith("Kafka does not answer")
    assert worker.startswith("no delivery worker runs: ")


def test_what_has_no_partitions_asks_no_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBBTIDE_KAFKA", "127.0.0.1:1")
    assert look(Environment.of(root=tmp_path), PUBLICATION).problems == [
        "no profile worker runs: `ebbtide run profiles` starts one"
    ]

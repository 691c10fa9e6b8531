"""The record on `control` that asks for a trace: one watcher of a domain at a time, and each ends only its own."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from drivers.command_line import ebbtide
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics

from cli.environment import Environment
from cli.operations.control import publish_switch, switches
from cli.operations.trace_commands import AlreadyTraced, watching
from schemas.rules import Control

pytestmark = pytest.mark.servers

MINUTE = timedelta(minutes=1)


@pytest.fixture
def environment(
    servers: RealServers, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, topic_prefix: str
) -> Environment:
    monkeypatch.setenv("EBBTIDE_KAFKA", servers.kafka)
    monkeypatch.setenv("EBBTIDE_DATABASE_URL", database_url)
    monkeypatch.delenv("EBBTIDE_LEDGER_URL", raising=False)
    monkeypatch.setenv("EBBTIDE_STREAMS_GROUP", f"{topic_prefix}streams")
    have_topics(servers.kafka)
    return Environment.of(root=tmp_path)


@pytest.fixture
def scope(topic_prefix: str) -> str:
    return f"delivery/domain/{topic_prefix}watched.example"


def in_force(environment: Environment, scope: str) -> Control | None:
    found = [each for each in switches(environment.kafka) if each.trace and each.scope == scope]
    return next((each for each in found if each.in_force(datetime.now(UTC))), None)


def test_a_second_watcher_is_refused_and_the_first_goes_on(environment: Environment, scope: str) -> None:
    with watching(environment, scope, 3, MINUTE, "ada") as (_, channel):
        domain = scope.rpartition("/")[2]
        with pytest.raises(AlreadyTraced, match=f"ada traces {domain} until .* UTC; try again when that has ended"):
            watching(environment, scope, 3, MINUTE, "bob").__enter__()
        done = ebbtide("senders", "trace", domain, "--by", "bob")
        assert (done.returncode, done.stdout) == (2, "")
        assert "ada traces" in done.stderr
        latest = in_force(environment, scope)
        assert latest is not None
        assert latest.trace == channel
    assert in_force(environment, scope) is None
    with watching(environment, scope, 3, MINUTE, "bob"):
        pass


def test_a_watcher_ends_no_trace_that_replaced_its_own(environment: Environment, scope: str) -> None:
    with watching(environment, scope, 3, MINUTE, "ada"):
        later = publish_switch(
            environment.kafka, scope, paused=False, by="bob", trace="later", most=3, until=datetime.now(UTC) + MINUTE
        )
    assert in_force(environment, scope) == later


def test_a_watcher_without_a_login_must_say_who_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)  # as in a container that runs as a user without an entry
    done = ebbtide("senders", "trace", "shop.example", "--for", "1s")
    assert done.returncode == 2
    assert "say who watches" in " ".join(done.stderr.replace("│", " ").split())

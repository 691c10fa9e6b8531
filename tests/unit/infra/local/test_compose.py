"""The compose file and what is read from `docker compose`. No container engine is needed for these."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.local.choice import choose_engine
from infra.local.compose import FILE, SERVICES, ComposeEngine, parse_ps
from infra.local.kafka.install import POM
from infra.local.native import NativeEngine
from infra.local.ports import Ports
from infra.local.problems import SetupProblem

PS = [
    {"Service": "kafka", "State": "running", "Health": "starting", "Name": "x-kafka-1"},
    {"Service": "timescale", "State": "exited", "Health": "", "Name": "x-timescale-1"},
]


@pytest.fixture
def services() -> dict[str, dict[str, object]]:
    return yaml.safe_load(FILE.read_text())["services"]


def test_the_compose_file_has_both_servers_with_a_health_check(services: dict[str, dict[str, object]]) -> None:
    assert set(services) == set(SERVICES)
    assert all("healthcheck" in service for service in services.values())


def test_containers_are_reached_from_this_machine_only(services: dict[str, dict[str, object]]) -> None:
    for service in services.values():
        assert all(str(port).startswith("127.0.0.1:") for port in service["ports"])  # type: ignore[attr-defined]


def test_the_image_has_the_release_of_the_native_jars(services: dict[str, dict[str, object]]) -> None:
    release = re.search(r"<artifactId>kafka_2.13</artifactId>\s*<version>([^<]+)<", POM.read_text())
    assert release is not None
    assert services["kafka"]["image"] == f"apache/kafka:{release[1]}"


def test_every_variable_of_the_compose_file_is_set_from_the_ports(tmp_path: Path) -> None:
    used = dict(re.findall(r"\$\{(\w+):-(\d+)\}", FILE.read_text()))
    given = ComposeEngine(Ports(), tmp_path)._environment()
    assert used
    assert {name: given[name] for name in used} == used  # and what the file falls back to is the default


def test_two_homes_are_two_compose_projects(tmp_path: Path) -> None:
    engines = [ComposeEngine(Ports(), home) for home in (tmp_path / "a", tmp_path / "b", tmp_path / "a")]
    assert engines[0].project == engines[2].project != engines[1].project


@pytest.mark.parametrize("text", [json.dumps(PS), "\n".join(map(json.dumps, PS)) + "\n"])
def test_states_are_read_from_either_form_of_ps(text: str) -> None:
    assert parse_ps(text) == {"kafka": "starting", "timescale": "stopped"}


def test_no_containers_are_no_states() -> None:
    assert parse_ps("") == parse_ps("[]") == {}


@pytest.mark.parametrize("name", [None, "", "native"])
def test_native_is_the_default_engine(name: str | None, tmp_path: Path) -> None:
    assert isinstance(choose_engine(name, tmp_path, Ports()), NativeEngine)


def test_another_engine_is_refused_by_name() -> None:
    with pytest.raises(SetupProblem, match="unknown engine 'podman': use native or compose"):
        choose_engine("podman")


def test_compose_without_docker_is_reported_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupProblem, match="docker is not installed: install it, or use the native servers"):
        choose_engine("compose")


def test_compose_without_an_engine_that_answers_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    if subprocess.run(["sh", "-c", "command -v docker"], capture_output=True, check=False).returncode:
        pytest.skip("no docker client on this machine")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    assert "DOCKER_HOST" in os.environ
    with pytest.raises(SetupProblem, match=r"no container engine with compose answers \(.+\): start one, or use"):
        choose_engine("compose")

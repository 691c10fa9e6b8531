"""The peers: their rule has Ebbtide's numbers, their versions are pinned, and a changed source is compiled again."""

import re
import shutil
from pathlib import Path

import pytest

from infra.local.fetching import STAMP
from infra.local.layout import Layout
from infra.local.problems import SetupProblem
from perf.jobs import EVERY_EVENT_BEGINS, EVERY_EVENT_POINTS, HOT
from perf.peers.build import Build, Peer, build, digest
from perf.peers.contenders import PEERS
from triggers.measures.shapes import MS

JOB = PEERS[0].home.parent / "Job.java"
needs_javac = pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK: javac is not in PATH")


def test_the_rule_in_java_has_the_numbers_of_the_rule_by_hand() -> None:
    text = JOB.read_text()
    points = re.findall(r'"(\w+)", (\d\.\d)', text)
    assert {name: float(value) for name, value in points} == EVERY_EVENT_POINTS
    assert f'TRIGGER_TYPE = "{EVERY_EVENT_BEGINS}"' in text
    assert f"LIMIT = {HOT}" in text
    assert f"DAY_MS = {MS['d']:_}L" in text


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_versions_are_pinned(peer: Peer) -> None:
    versions = re.findall(r"<(?:flink\.)?version>([^<]*)<", peer.pom.read_text())
    assert len(versions) >= 5
    assert all(re.fullmatch(r"\d+(\.\d+)*(-\d+\.\d+)?|\$\{flink\.version\}", version) for version in versions)


def test_a_hash_follows_contents_and_names(tmp_path: Path) -> None:
    one, other = tmp_path / "A.java", tmp_path / "B.java"
    one.write_text("class A {}")
    other.write_text("class A {}")
    before = digest([one])
    assert before != digest([other])
    one.write_text("class A { }")
    assert before != digest([one])


def test_a_record_says_the_version_of_a_jar(tmp_path: Path) -> None:
    for name in ("kafka-clients-4.1.1.jar", "kafka-streams-4.1.1.jar", "flink-connector-kafka-3.4.0-1.20.jar"):
        (tmp_path / name).touch()
    found = Build(tmp_path, tmp_path)
    assert found.version("kafka-streams") == "4.1.1"
    assert found.version("flink-connector-kafka") == "3.4.0-1.20"


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    """A peer whose jars are there, so that Maven is not asked."""
    home = tmp_path / "peers" / "small"
    home.mkdir(parents=True)
    (home / "pom.xml").write_text("<project/>")
    (home / "Small.java").write_text("class Small { int first() { return Shared.ONE; } }")
    (home.parent / "Shared.java").write_text("class Shared { static final int ONE = 1; }")
    jars = tmp_path / ".local" / "peers" / "small" / "jars"
    jars.mkdir(parents=True)
    (jars / STAMP).write_text(digest([home / "pom.xml"]))
    return Peer("Small", home, "Small")


@needs_javac
def test_classes_are_compiled_once_and_again_when_a_source_changes(peer: Peer, tmp_path: Path) -> None:
    layout = Layout.of_project(tmp_path)
    classes = build(peer, layout).classes
    compiled = (classes / "Small.class").stat().st_mtime_ns
    build(peer, layout)
    assert (classes / "Small.class").stat().st_mtime_ns == compiled
    (peer.home.parent / "Shared.java").write_text("class Shared { static final int ONE = 1, TWO = 2; }")
    build(peer, layout)
    assert (classes / "Small.class").stat().st_mtime_ns > compiled


@needs_javac
def test_a_source_that_does_not_compile_is_named_with_its_line(peer: Peer, tmp_path: Path) -> None:
    (peer.home / "Small.java").write_text("class Small {\n  int first() { return Shared.MISSING; }\n}")
    with pytest.raises(SetupProblem, match=r"javac could not compile the job for Small \(.*Small\.java:2: error"):
        build(peer, Layout.of_project(tmp_path))
    assert not (tmp_path / ".local" / "peers" / "small" / "classes").exists()


def test_a_machine_without_a_jdk_is_told_what_to_install(
    peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupProblem, match="openjdk-17-jdk-headless"):
        build(peer, Layout.of_project(tmp_path))

"""What is fetched is put in place whole or not at all, and what fails says one line."""

import subprocess
import sys
from pathlib import Path

import pytest

from infra.local import fetching
from infra.local.layout import PROJECT_ROOT
from infra.local.problems import SetupProblem
from infra.local.timescale import apt

DEB822 = """Types: deb
# a comment
URIs: http://deb.debian.org/debian-security https://mirror.example/debian/
Suites: bookworm
"""
ONE_LINE = """# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://first.example/debian-security bookworm-security main
deb-src http://sources.example/debian bookworm main
deb http://second.example/debian bookworm main
"""
PRINT_URIS = """'http://m/p/postgresql-17_17.11-0%2bdeb13u1_amd64.deb' postgresql-17_17.11-0+deb13u1_amd64.deb 17 MD5:ab
'http://m/pool/z/zlib/zlib1g_1.3.dfsg_amd64.deb' zlib1g_1%3a1.3.dfsg_amd64.deb 8 SHA256:cd
W: something else
"""


def test_sources_are_read_in_both_styles() -> None:
    assert apt.uris(DEB822) == ["http://deb.debian.org/debian-security", "https://mirror.example/debian/"]
    assert apt.uris(ONE_LINE) == ["http://first.example/debian-security", "http://second.example/debian"]


def test_the_mirror_is_the_first_that_carries_the_main_archive(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    (tmp_path / "sources.list.d" / "old.list.disabled").write_text("deb http://disabled.example/debian x main")
    assert apt.debian_mirror(tmp_path) == "https://mirror.example/debian/"
    (tmp_path / "sources.list").write_text(ONE_LINE)
    assert apt.debian_mirror(tmp_path) == "http://second.example/debian"


def test_without_a_mirror_the_error_says_to_add_one(tmp_path: Path) -> None:
    with pytest.raises(SetupProblem, match="no Debian mirror"):
        apt.debian_mirror(tmp_path)


def test_package_names_are_read_from_apts_list() -> None:
    assert apt.package_names(PRINT_URIS) == ["postgresql-17", "zlib1g"]


def test_a_completely_filled_folder_is_put_in_place(tmp_path: Path) -> None:
    place = tmp_path / "kafka"
    for version in ("1", "2"):
        with fetching.installing(place, version) as new:
            (new / "file").write_text(version)
            assert not fetching.is_installed(place, version)
        assert fetching.is_installed(place, version)
        assert (place / "file").read_text() == version
    assert [path.name for path in tmp_path.iterdir()] == ["kafka"]


def test_a_failed_installation_leaves_the_earlier_one(tmp_path: Path) -> None:
    place = tmp_path / "kafka"
    with fetching.installing(place, "1") as new:
        (new / "file").write_text("1")

    def interrupted() -> None:
        with fetching.installing(place, "2") as new:
            (new / "file").write_text("half of 2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert fetching.is_installed(place, "1")
    assert (place / "file").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["kafka"]


def test_the_remains_of_a_killed_installation_do_not_get_into_the_next(tmp_path: Path) -> None:
    (tmp_path / "kafka.new").mkdir()
    (tmp_path / "kafka.new" / "half").touch()
    with fetching.installing(tmp_path / "kafka", "1"):
        pass
    assert not (tmp_path / "kafka" / "half").exists()


def test_a_failed_command_is_reported_in_one_line_with_its_message_and_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "mvn.log"
    script = "echo noise; printf '\\033[1m[ERROR] no route\\033[0m\\n'; echo '[ERROR] Failed: '$(seq 200); exit 3"
    with pytest.raises(SetupProblem) as problem:
        fetching.run(["sh", "-c", script], log=log, failure="No jars", marks=("[ERROR] Failed", "[ERROR]"))
    text = str(problem.value)
    assert text.startswith("No jars ([ERROR] Failed: 1 2 3")
    assert text.endswith(f" 199 200; full output in {log})")
    assert "\n" not in text
    assert "noise" in log.read_text()


def test_a_command_that_fails_without_a_word_gives_its_status(tmp_path: Path) -> None:
    with pytest.raises(SetupProblem, match=r"No jars \(exit status 3; full output in "):
        fetching.run(["sh", "-c", "exit 3"], log=tmp_path / "log", failure="No jars", marks=("E:",))


def test_words_of_an_earlier_run_in_the_same_log_are_not_this_runs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("E: yesterday\n")
    with pytest.raises(SetupProblem, match="exit status 1"):
        fetching.run(["false"], log=log, failure="No jars", marks=("E:",))


def test_the_installer_runs_before_there_is_a_virtual_environment() -> None:
    """Set-up runs it with the system's Python, beside pip: so it may import the standard library only."""
    loaded = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(PROJECT_ROOT)!r})\nimport infra.local.install",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr

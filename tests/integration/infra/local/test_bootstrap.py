"""Set-up on machines that lack something: one line, exit status 2, and nothing half-made.

That it succeeds where nothing is lacking is shown by every run of `make test`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.layout import PROJECT_ROOT

TOOLS = ("bash", "cat", "dirname", "flock", "grep", "head", "id", "ls", "mkdir", "mv", "rm", "sed", "sha256sum", "tail")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a fresh clone as set-up reads before it installs anything."""
    place = tmp_path / "checkout"
    (place / "infra").mkdir(parents=True)
    for name in ("infra/bootstrap.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT_ROOT / name, place / name)
    return place


@pytest.fixture
def bare_path(tmp_path: Path) -> Path:
    """A PATH with the tools of the base system and Python, but no Java, no Maven and no apt-get."""
    directory = tmp_path / "bin"
    directory.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (directory / tool).symlink_to(found)
    wrapper = directory / "python3"
    wrapper.write_text(f'#!/bin/bash\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    return directory


def bootstrap(checkout: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "infra" / "bootstrap.sh", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def made(checkout: Path) -> list[str]:
    return sorted(path.name for path in checkout.iterdir() if path.name.startswith((".venv", ".local")))


def test_missing_programs_are_reported_in_one_line_with_the_command_to_type(checkout: Path, bare_path: Path) -> None:
    done = bootstrap(checkout, PATH=str(bare_path))
    assert done.returncode == 2
    assert done.stderr == (
        "ebbtide: missing on this machine: openjdk-17-jre-headless maven; "
        "type: sudo apt-get update && sudo apt-get install -y openjdk-17-jre-headless maven\n"
    )
    assert made(checkout) == []


def test_a_python_without_venv_is_reported_as_a_missing_package(checkout: Path, bare_path: Path) -> None:
    (bare_path / "python3").write_text("#!/bin/bash\n[[ $2 != *ensurepip* ]]\n")  # as Debian's own without python3-venv
    done = bootstrap(checkout, "venv", PATH=str(bare_path))
    assert done.returncode == 2
    assert done.stderr.startswith("ebbtide: missing on this machine: python3-venv; type: sudo apt-get ")
    assert made(checkout) == []


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (None, "ebbtide: python3 is missing: install Python 3.11 or newer (`apt-get install python3` as root)\n"),
        (
            "#!/bin/bash\n[[ $1 = -V ]] && echo Python 3.9.2\n",
            "ebbtide: Python 3.9.2 is too old: put Python 3.11 or newer first in PATH, "
            "or name it: make PYTHON=/path/to/python3\n",
        ),
    ],
)
def test_a_missing_suitable_python_is_reported_in_one_line(
    checkout: Path, bare_path: Path, script: str | None, expected: str
) -> None:
    (bare_path / "python3").unlink()
    if script:
        (bare_path / "python3").write_text(script)
        (bare_path / "python3").chmod(0o755)
    done = bootstrap(checkout, "venv", PATH=str(bare_path))
    assert (done.returncode, done.stderr) == (2, expected)
    assert made(checkout) == []


def test_a_package_index_that_does_not_answer_leaves_the_old_environment(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "old").touch()
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
    done = bootstrap(checkout, "venv", PYTHON=sys.executable, **nowhere)
    assert done.returncode == 2
    assert done.stderr.startswith("ebbtide: pip could not install the locked packages: ERROR: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in (checkout / ".venv").iterdir()] == ["old"]
    assert made(checkout) == [".local", ".venv"]


def test_a_finished_set_up_asks_for_nothing(checkout: Path, bare_path: Path) -> None:
    """Not even for Python: the second call only compares stamps."""
    (bare_path / "python3").unlink()
    environment = checkout / ".venv"
    environment.mkdir()
    for name, stamped in (
        (".lock-stamp", f"{checkout}\n".encode() + (checkout / "requirements.lock").read_bytes()),
        (".project-stamp", (checkout / "pyproject.toml").read_bytes()),
    ):
        (environment / name).write_text(f"{hashlib.sha256(stamped).hexdigest()}  -\n")
    done = bootstrap(checkout, "venv", PATH=str(bare_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

"""Runs installers: output goes to a log, a failure is one line, and a result is put in place as a whole or not."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from infra.local.problems import SetupProblem

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
STAMP = "installed"
TIMEOUT_S = 600.0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock: a second process waits until the first is done. The lock ends with its process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    failure: str,
    marks: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
) -> None:
    """Runs one installer command and appends its output to `log`.

    Raises `SetupProblem`: `failure`, and the first line of output that begins with one of `marks`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        begin = output.tell()
        try:
            status = subprocess.run(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if environment is None else {**os.environ, **environment},
                cwd=directory,
                timeout=TIMEOUT_S,
                check=False,
            ).returncode
            reason = f"exit status {status}"
        except subprocess.TimeoutExpired:
            status, reason = -1, f"it did not end within {TIMEOUT_S:.0f} s"
    if status != 0:
        printed = log.read_bytes()[begin:].decode(errors="replace")
        raise SetupProblem(f"{failure} ({_error_line(printed, marks) or reason}; full output in {log})")


def _error_line(output: str, marks: Sequence[str]) -> str | None:
    lines = COLOUR.sub("", output).splitlines()
    return next((_shortened(line) for mark in marks for line in lines if line.startswith(mark)), None)


def _shortened(line: str, longest: int = 240) -> str:
    """A long line without its middle: the beginning says what failed, the end why."""
    half = longest // 2
    return line if len(line) <= longest else f"{line[:half]} … {line[-half:]}"


def is_installed(place: Path, version: str) -> bool:
    """Whether `place` has exactly this version, complete."""
    try:
        return (place / STAMP).read_text() == version
    except FileNotFoundError:
        return False


@contextmanager
def installing(place: Path, version: str) -> Iterator[Path]:
    """Yields an empty directory to fill. If the block succeeds, it moves to `place`; otherwise it is removed."""
    new, old = place.with_name(f"{place.name}.new"), place.with_name(f"{place.name}.old")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        (new / STAMP).write_text(version)
        shutil.rmtree(old, ignore_errors=True)
        if place.exists():
            place.rename(old)
        new.rename(place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

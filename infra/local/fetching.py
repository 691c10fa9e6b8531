"""Running an installer: its output to a log, one line on failure, its result put in place whole or not at all."""

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
    """Hold an exclusive lock: a second process waits here until the first is done. It ends with its holder."""
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
    """Run one installer command, appending to `log`.

    Raises `SetupProblem` beginning with `failure`, with the first line of output that starts with one of `marks`.
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
            status, reason = -1, f"no end after {TIMEOUT_S:.0f} s"
    if status != 0:
        said = log.read_bytes()[begin:].decode(errors="replace")
        raise SetupProblem(f"{failure} ({_telling_line(said, marks) or reason}; all of it in {log})")


def _telling_line(output: str, marks: Sequence[str]) -> str | None:
    lines = COLOUR.sub("", output).splitlines()
    return next((_shortened(line) for mark in marks for line in lines if line.startswith(mark)), None)


def _shortened(line: str, longest: int = 240) -> str:
    """Without its middle where it is long: what failed stands at the beginning, why at the end."""
    half = longest // 2
    return line if len(line) <= longest else f"{line[:half]} … {line[-half:]}"


def is_installed(place: Path, version: str) -> bool:
    """Whether `place` holds exactly this version, whole."""
    try:
        return (place / STAMP).read_text() == version
    except FileNotFoundError:
        return False


@contextmanager
def installing(place: Path, version: str) -> Iterator[Path]:
    """Give an empty directory to fill; put it in `place` when the block ends well, else remove it."""
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

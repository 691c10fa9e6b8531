"""Folders of temporary files that may hold personal data."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIG_DFL, SIG_IGN, SIGHUP, getsignal, signal
from tempfile import TemporaryDirectory
from typing import NoReturn


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """A folder in TMPDIR that only its owner can read, for the time of the block. Call it in the main thread.

    It is removed however the block ends, also when the terminal is closed; only a killed process leaves it.
    """
    with _hangup_as_exit(), TemporaryDirectory(prefix=prefix) as name:
        yield Path(name)


@contextmanager
def _hangup_as_exit() -> Iterator[None]:
    if getsignal(SIGHUP) is not SIG_DFL:  # as under nohup
        yield
        return
    signal(SIGHUP, _hung_up)
    try:
        yield
    finally:
        signal(SIGHUP, SIG_DFL)


def _hung_up(number: int, _frame: object) -> NoReturn:
    signal(SIGHUP, SIG_IGN)  # a shell sends a second one, which must not end the removal
    raise SystemExit(128 + number)

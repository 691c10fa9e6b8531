"""A folder of temporary files is gone after a signal, and signals are as they were before."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.scratch_folder import scratch_folder


@pytest.fixture(autouse=True)
def _restored_hangup() -> Iterator[None]:
    """A hangup ends the process, also where the tests were started by nohup, and is as before at the end."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@contextmanager
def _second_hangup() -> Iterator[None]:
    """A shell sends one, beside the kernel."""
    try:
        yield
    finally:
        os.kill(os.getpid(), signal.SIGHUP)


def test_a_closed_terminal_ends_the_command_and_removes_the_folder() -> None:
    with pytest.raises(SystemExit) as ended, scratch_folder("ebbtide-test-") as folder, _second_hangup():
        os.kill(os.getpid(), signal.SIGHUP)
    assert ended.value.code == 128 + signal.SIGHUP
    assert not folder.exists()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_a_hangup_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with scratch_folder("ebbtide-test-") as folder:
        os.kill(os.getpid(), signal.SIGHUP)
        assert folder.is_dir()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN

"""The command line, run in this process: a new interpreter takes a second and proves nothing about a command."""

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import NamedTuple

import pytest

from cli.main import main


class Done(NamedTuple):
    """What a command printed, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def ebbtide(*arguments: object, **variables: str) -> Done:
    """Runs `ebbtide ARGUMENTS` to its end, with empty input and these environment variables."""
    out, err = _text(), _text()
    with (
        _process_state(["ebbtide", *map(str, arguments)], variables),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Done(int(ended.value.code or 0), _read(out), _read(err))


def _text() -> io.TextIOWrapper:
    """A file like those of a process: some commands write bytes."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)


def _read(file: io.TextIOWrapper) -> str:
    file.seek(0)
    return file.read()


@contextmanager
def _process_state(argv: list[str], variables: dict[str, str]) -> Iterator[None]:
    """Everything else that a command finds in, or changes of, its process."""
    before = dict(os.environ), sys.argv, sys.stdin
    handlers = {number: signal.getsignal(number) for number in (signal.SIGPIPE, signal.SIGTERM)}
    os.environ.update(variables)
    sys.argv, sys.stdin = argv, _text()
    try:
        yield
    finally:
        environment, sys.argv, sys.stdin = before
        os.environ.clear()
        os.environ.update(environment)
        for number, handler in handlers.items():
            signal.signal(number, handler)

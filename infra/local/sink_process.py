"""A sink in its own process, for tests and measurements: the one of the demo, or the one of providers."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from infra.local.sink import HOST
from infra.local.sink_mails import ReceivedMail, read_messages
from infra.local.sink_receipts import LISTENING, Receipt, read_receipts

START_WITHIN_S = 15.0


class SinkProgram(Protocol):
    """What is used of subprocess.Popen."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Its exit status once it has ended."""

    def send_signal(self, sig: int) -> None:
        """Does nothing once it has ended."""

    def wait(self, timeout: float) -> int:
        """Its exit status; raises subprocess.TimeoutExpired."""


class Sink:
    """A sink in its own process."""

    def __init__(self, port: int, directory: Path, script: dict[str, str] | None = None) -> None:
        self.port = port
        self.directory = directory
        self._script = script
        self._process: SinkProgram | None = None

    def start(self) -> None:
        """Starts the process and waits until it answers; raises RuntimeError if it does not."""
        if self._answers():
            raise RuntimeError(f"SMTP sink on {HOST}:{self.port} did not start: another server has this port")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = self._run(self._command(), self.directory / "sink.log")
        deadline = time.monotonic() + START_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = (self.directory / "sink.log").read_text().strip().splitlines()[-1:] or ["no log"]
                raise RuntimeError(f"SMTP sink on {HOST}:{self.port} did not start: {tail[0]}")
            time.sleep(0.05)

    def _run(self, command: list[str], log: Path) -> SinkProgram:
        with log.open("ab") as output:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "infra.local.sink", "--port", str(self.port), "--dir", str(self.directory)]
        if self._script is None:
            return command
        script = self.directory / "script.json"
        script.write_text(json.dumps(self._script))
        return [*command, "--script", str(script)]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False

    def stop(self) -> None:
        """Stops the process cleanly."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kills the process, as in a crash."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(timeout=10)

    def messages(self) -> Iterator[ReceivedMail]:
        """The mails received so far."""
        return read_messages(self.directory)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class ProviderSink(Sink):
    """The sink of providers (infra.local.sink_server), with a script in TOML."""

    def __init__(self, port: int, directory: Path, script: str = "", *, keep_mails: bool = False) -> None:
        super().__init__(port, directory)
        self._text = script
        self._keep_mails = keep_mails

    def _command(self) -> list[str]:
        script = self.directory / "script.toml"
        script.write_text(self._text)
        command = [sys.executable, "-m", "infra.local.sink_server", "--port", str(self.port)]
        command += ["--dir", str(self.directory), "--script", str(script)]
        return [*command, "--keep-mails"] if self._keep_mails else command

    def _answers(self) -> bool:
        """As the sink itself says: a connection would be counted, and a greeting may be scripted."""
        said = self.directory / LISTENING
        return self._process is not None and said.exists() and said.read_text() == str(self._process.pid)

    def receipts(self) -> Iterator[Receipt]:
        """What the sink saw so far."""
        return read_receipts(self.directory)

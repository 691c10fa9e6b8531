"""The SMTP sink of the demo and the tests: a real server on loopback that keeps every mail and delivers none.

Each mail taken is one line of JSON in `mails.jsonl`, written before the 250 is sent: what was answered is in the file
even after `kill -9`. Replies other than 250 are asked for by the recipient's local part, up to any `+`:

    451-2+anything@…     451 twice, then 250; any code from 400 to 599, without `-2` for ever
    data-552@…           the reply to the message instead of to RCPT; `data-451-2@…` counts too
    drop-after-dot-1@…   closes without a reply after the message, and keeps nothing
    keep-then-drop-1@…   closes without a reply after the message, and keeps it
    drop-at-rcpt-1@…     closes at RCPT

A script file gives the same to chosen addresses: a JSON object of address pattern (`*@slow.example`) to local part.
"""

import argparse
import asyncio
import base64
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.1"
MAILS = "mails.jsonl"
START_WITHIN_S = 15.0
LARGEST_MAIL = 33_554_432

_WISH = re.compile(
    r"(?:(?P<data>data-)?(?P<code>[45]\d\d)|(?P<drop>drop-after-dot|keep-then-drop|drop-at-rcpt))(?:-(?P<times>\d{1,6}))?"
)
_TEXTS = {
    421: "4.3.2 service not available",
    450: "4.2.1 mailbox busy",
    451: "4.7.1 try again later",
    452: "4.2.2 mailbox full",
    550: "5.1.1 no such user",
    552: "5.2.2 mailbox full",
    554: "5.7.1 refused by policy",
}


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """A mail as the sink took it; `received_at` is seconds since the epoch."""

    mail_from: str
    rcpt_to: str
    raw: bytes
    received_at: float


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """What a recipient's local part asks the sink to do, `times` times, or for ever where that is None."""

    stage: str
    code: int | None
    keep: bool
    times: int | None


def wish_of(local_part: str) -> ScriptedReply | None:
    """The wish in a local part, if there is one."""
    found = _WISH.fullmatch(local_part.partition("+")[0])
    if found is None:
        return None
    times = None if found["times"] is None else int(found["times"])
    if found["code"] is not None:
        return ScriptedReply("data" if found["data"] else "rcpt", int(found["code"]), False, times)
    stage = "rcpt" if found["drop"] == "drop-at-rcpt" else "data"
    return ScriptedReply(stage, None, found["drop"] == "keep-then-drop", times)


def read_messages(directory: Path) -> Iterator[ReceivedMail]:
    """The mails that the sink in `directory` has taken, in order. A line that is half written is where they end: its
    sink was killed, or is about to write the rest."""
    path = directory / MAILS
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield _delivered(json.loads(line))


def _delivered(kept: dict[str, Any]) -> ReceivedMail:
    return ReceivedMail(
        mail_from=kept["mail_from"],
        rcpt_to=kept["rcpt_to"],
        raw=base64.b64decode(kept["raw"]),
        received_at=kept["received_at"],
    )


class MailFile:
    """The append-only file of one sink. A second sink on the same directory is refused."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = (directory / MAILS).open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{directory / MAILS}: another sink writes here; stop it first") from None
        self._cut_half_line()

    def _cut_half_line(self) -> None:
        """A sink killed in the middle of a line had not answered for that mail."""
        size = end = self._file.seek(0, os.SEEK_END)
        while end:
            start = max(0, end - 65536)
            self._file.seek(start)
            newline = self._file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end != size:
            self._file.truncate(end)

    def keep(self, mail: ReceivedMail) -> None:
        """Append one mail in one write, which a later kill cannot take back."""
        line = json.dumps(
            {
                "received_at": mail.received_at,
                "mail_from": mail.mail_from,
                "rcpt_to": mail.rcpt_to,
                "raw": base64.b64encode(mail.raw).decode(),
            }
        )
        data = memoryview(line.encode() + b"\n")
        while data:
            data = data[self._file.write(data) :]


class _Handler:
    """aiosmtpd's hooks."""

    def __init__(self, store: MailFile, script: dict[str, str]) -> None:
        self._store = store
        self._script = script
        self._granted: Counter[str] = Counter()

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if envelope.rcpt_tos:
            return "452 4.5.3 one recipient a mail, please"
        wish = self._wish(address, "rcpt")
        if wish is not None and wish.code is None:
            _hang_up(server)
        elif wish is not None:
            return _reply(wish.code)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 recipient ok"

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        address = envelope.rcpt_tos[0]
        wish = self._wish(address, "data")
        if wish is None or wish.keep:
            raw = envelope.original_content or b""
            self._store.keep(ReceivedMail(envelope.mail_from or "", address, raw, time.time()))
        if wish is not None and wish.code is None:
            _hang_up(server)
        return "250 2.0.0 kept" if wish is None else _reply(wish.code)

    def _wish(self, address: str, stage: str) -> ScriptedReply | None:
        """What to do for this address now; None where it has had its wish as often as it asked."""
        local_part = next(
            (part for pattern, part in self._script.items() if fnmatchcase(address, pattern)), address.split("@")[0]
        )
        wish = wish_of(local_part)
        if wish is None or wish.stage != stage:
            return None
        if wish.times is not None and self._granted[address] >= wish.times:
            return None
        self._granted[address] += 1
        return wish


def _hang_up(server: SMTP) -> None:
    transport = server.transport
    assert isinstance(transport, asyncio.Transport), "aiosmtpd calls its hooks while connected"
    transport.abort()


def _reply(code: int | None) -> str:
    return f"{code} {_TEXTS.get(code or 0, f'{(code or 500) // 100}.0.0 as the address asked')}"


def serve(port: int, directory: Path, script: dict[str, str] | None = None) -> None:
    """Take mail on 127.0.0.1:port until SIGTERM or SIGINT; raises SystemExit where the port or directory is in use."""
    try:
        asyncio.run(_serve(port, directory, script))
    except OSError as error:
        raise SystemExit(f"{HOST}:{port}: {error.strerror}; is another server on this port?") from None


async def _serve(port: int, directory: Path, script: dict[str, str] | None) -> None:
    handler = _Handler(MailFile(directory), script or {})
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="sink", ident="ebbtide sink", data_size_limit=LARGEST_MAIL, loop=loop),
        HOST,
        port,
        backlog=512,
    )
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with server:
        await stop.wait()


class Sink:
    """A sink in its own process."""

    def __init__(self, port: int, directory: Path, script: dict[str, str] | None = None) -> None:
        self.port = port
        self.directory = directory
        self._script = script
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it answers; raises RuntimeError where it ends or stays silent."""
        if self._answers():
            raise RuntimeError(f"SMTP sink on {HOST}:{self.port} did not start: another server has this port")
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "infra.local.sink", "--port", str(self.port), "--dir", str(self.directory)]
        if self._script is not None:
            script = self.directory / "script.json"
            script.write_text(json.dumps(self._script))
            command += ["--script", str(script)]
        with (self.directory / "sink.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = (self.directory / "sink.log").read_text().strip().splitlines()[-1:] or ["no log"]
                raise RuntimeError(f"SMTP sink on {HOST}:{self.port} did not start: {tail[0]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False

    def stop(self) -> None:
        """End the process in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(timeout=10)

    def messages(self) -> Iterator[ReceivedMail]:
        """The mails taken so far."""
        return read_messages(self.directory)

    def __enter__(self) -> "Sink":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    """`python -m infra.local.sink --port PORT --dir DIRECTORY [--script FILE]`."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.sink", description="an SMTP server that keeps all mail"
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--script", type=Path)
    arguments = parser.parse_args()
    script = json.loads(arguments.script.read_text()) if arguments.script else None
    serve(arguments.port, arguments.dir, script)


if __name__ == "__main__":
    main()

"""The file of a sink: one line of JSON for each mail, in the order of receipt."""

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MAILS = "mails.jsonl"


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    """A mail that the sink received; `received_at` is in seconds since the epoch."""

    mail_from: str
    rcpt_to: str
    raw: bytes
    received_at: float


def read_messages(directory: Path) -> Iterator[ReceivedMail]:
    """The mails that the sink in `directory` received, in order. A half-written line is the end: its sink was killed,
    or is still writing it."""
    path = directory / MAILS
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield _received_mail(json.loads(line))


def _received_mail(stored: dict[str, Any]) -> ReceivedMail:
    return ReceivedMail(
        mail_from=stored["mail_from"],
        rcpt_to=stored["rcpt_to"],
        raw=base64.b64decode(stored["raw"]),
        received_at=stored["received_at"],
    )


class MailFile:
    """The append-only file of one sink. It refuses a second sink in the same directory."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = (directory / MAILS).open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{directory / MAILS}: another sink writes here; stop it first") from None
        self._cut_half_line()

    def _cut_half_line(self) -> None:
        """Removes a half-written line: a sink that was killed in the middle of it had not accepted that mail."""
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
        """Appends one mail in one write, which survives a later kill."""
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

"""The file of a sink: one line of JSON for each mail, in the order of receipt."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.sink_lines import LineFile

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
        self._lines = LineFile(directory / MAILS)

    def keep(self, mail: ReceivedMail) -> None:
        """Appends one mail."""
        line = json.dumps(
            {
                "received_at": mail.received_at,
                "mail_from": mail.mail_from,
                "rcpt_to": mail.rcpt_to,
                "raw": base64.b64encode(mail.raw).decode(),
            }
        )
        self._lines.add(line.encode())

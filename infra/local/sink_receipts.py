"""What the sink of providers saw, one line of JSON each, in order: connections, and mails with the reply to each.

A mail's line is in the file before its reply is sent, so it can be counted even after `kill -9`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from infra.local.sink_lines import LineFile

RECEIPTS = "receipts.jsonl"
LISTENING = "listening"
"""The file in which a sink writes its process id once it listens."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What happened at `at`, in seconds since the epoch. `what` is `open`, `tls`, `mail`, `rcpt` or `close`.

    `mail` has the reply to the message and whether the sink keeps it, `rcpt` a recipient who got no 250, and `open` a
    greeting other than 220. A reply is empty where the sink closed without one.
    """

    at: float
    what: str
    connection: int
    source: str
    listener: str
    mail_from: str = ""
    rcpt_to: str = ""
    command: str = ""
    size: int = 0
    reply: str = ""
    kept: bool = False


class ReceiptFile:
    """The append-only file of one sink. It refuses a second sink in the same directory."""

    def __init__(self, directory: Path) -> None:
        self._lines = LineFile(directory / RECEIPTS)

    def add(self, receipt: Receipt) -> None:
        """Append one receipt."""
        self._lines.add(orjson.dumps(receipt))


def read_receipts(directory: Path) -> Iterator[Receipt]:
    """The receipts of the sink in `directory`, in order. A half-written line is the end: its sink was killed."""
    path = directory / RECEIPTS
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            yield Receipt(**orjson.loads(line))

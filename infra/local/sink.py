"""The SMTP sink of the demo and the tests: a real server on loopback that keeps every mail and delivers none.

Each accepted mail is one line of JSON in `mails.jsonl`, written before the 250 is sent: it is in the file even after
`kill -9`. The recipient's local part, up to a `+`, requests other replies than 250:

    451-2+anything@…     451 twice, then 250; any code from 400 to 599; without `-2` always
    data-552@…           the reply to the message instead of to RCPT; `data-451-2@…` counts too
    drop-after-dot-1@…   closes without a reply after the message, and keeps nothing
    keep-then-drop-1@…   closes without a reply after the message, and keeps it
    drop-at-rcpt-1@…     closes at RCPT

A script file requests this for other addresses: a JSON object of address pattern (`*@slow.example`) to local part.
"""

import argparse
import asyncio
import json
import re
import signal
import time
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from infra.local.sink_mails import MailFile, ReceivedMail

HOST = "127.0.0.1"
LARGEST_MAIL = 33_554_432

_REQUEST = re.compile(
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
class ScriptedReply:
    """What a recipient's local part requests: `times` times, or always if that is None."""

    stage: str
    code: int | None
    keep: bool
    times: int | None


def scripted_reply(local_part: str) -> ScriptedReply | None:
    """The reply that a local part requests; None if it requests none."""
    found = _REQUEST.fullmatch(local_part.partition("+")[0])
    if found is None:
        return None
    times = None if found["times"] is None else int(found["times"])
    if found["code"] is not None:
        return ScriptedReply("data" if found["data"] else "rcpt", int(found["code"]), False, times)
    stage = "rcpt" if found["drop"] == "drop-at-rcpt" else "data"
    return ScriptedReply(stage, None, found["drop"] == "keep-then-drop", times)


class _Handler:
    """The hooks of aiosmtpd."""

    def __init__(self, store: MailFile, script: dict[str, str]) -> None:
        self._store = store
        self._script = script
        self._given: Counter[str] = Counter()

    async def handle_RCPT(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if envelope.rcpt_tos:
            return "452 4.5.3 one recipient a mail, please"
        reply = self._due_reply(address, "rcpt")
        if reply is not None and reply.code is None:
            _hang_up(server)
        elif reply is not None:
            return _reply(reply.code)
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 recipient ok"

    async def handle_DATA(  # noqa: N802  # aiosmtpd's name
        self, server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        address = envelope.rcpt_tos[0]
        reply = self._due_reply(address, "data")
        if reply is None or reply.keep:
            raw = envelope.original_content or b""
            self._store.keep(ReceivedMail(envelope.mail_from or "", address, raw, time.time()))
        if reply is not None and reply.code is None:
            _hang_up(server)
        return "250 2.0.0 kept" if reply is None else _reply(reply.code)

    def _due_reply(self, address: str, stage: str) -> ScriptedReply | None:
        """The reply for this address now; None if it was given as often as requested."""
        local_part = next(
            (part for pattern, part in self._script.items() if fnmatchcase(address, pattern)), address.split("@")[0]
        )
        reply = scripted_reply(local_part)
        if reply is None or reply.stage != stage:
            return None
        if reply.times is not None and self._given[address] >= reply.times:
            return None
        self._given[address] += 1
        return reply


def _hang_up(server: SMTP) -> None:
    transport = server.transport
    assert isinstance(transport, asyncio.Transport), "aiosmtpd calls its hooks while connected"
    transport.abort()


def _reply(code: int | None) -> str:
    return f"{code} {_TEXTS.get(code or 0, f'{(code or 500) // 100}.0.0 as the address asked')}"


def serve(port: int, directory: Path, script: dict[str, str] | None = None) -> None:
    """Accepts mail on 127.0.0.1:port until SIGTERM or SIGINT; raises SystemExit if port or directory is in use."""
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


def main() -> None:
    """`python -m infra.local.sink --port PORT --dir DIRECTORY [--script FILE]`."""
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.sink", description="An SMTP server that keeps every mail and delivers none."
    )
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--script", type=Path)
    arguments = parser.parse_args()
    script = json.loads(arguments.script.read_text()) if arguments.script else None
    serve(arguments.port, arguments.dir, script)


if __name__ == "__main__":
    main()

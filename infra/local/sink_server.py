"""The sink of providers: an SMTP server on loopback that answers as its script says and records what it saw.

    python -m infra.local.sink_server --port 2525 --dir DIRECTORY [--script FILE] [--keep-mails]

The directory gets `receipts.jsonl` (infra.local.sink_receipts), `ca.pem` (the authority of its certificates) and, with
`--keep-mails`, `mails.jsonl`. The script is described in infra.local.sink_script.
"""

import argparse
import asyncio
import os
import signal
import ssl
import sys
import time
import tomllib
from itertools import count
from pathlib import Path

from pydantic import ValidationError

from infra.local.sink_answers import AnswerBook
from infra.local.sink_certificates import SinkAuthority
from infra.local.sink_connection import SinkParts
from infra.local.sink_mails import MailFile
from infra.local.sink_receipts import LISTENING, ReceiptFile
from infra.local.sink_script import Listener, SinkScript, read_script
from infra.local.sink_session import SinkSession
from schemas.mistakes import mistakes

BACKLOG = 1024


def serve(port: int, directory: Path, script: SinkScript, *, keep_mails: bool = False) -> None:
    """Answers until SIGTERM or SIGINT; raises SystemExit if a port or the directory is in use."""
    receipts, mails = ReceiptFile(directory), MailFile(directory) if keep_mails else None
    parts = SinkParts(AnswerBook(script, directory), receipts, mails, time.monotonic(), count(1))
    authority = SinkAuthority(directory)
    contexts = {listener: authority.context(listener) for listener in script.listener}
    try:
        asyncio.run(_serve(port, directory, parts, contexts))
    except OSError as error:
        raise SystemExit(f"port {port}: {error.strerror}; is another server on this port?") from None


async def _serve(port: int, directory: Path, parts: SinkParts, contexts: dict[Listener, ssl.SSLContext]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    servers = [
        await loop.create_server(
            lambda listener=listener, tls=tls: SinkSession(parts, listener, tls),  # type: ignore[misc]
            listener.host,
            port,
            backlog=BACKLOG,
        )
        for listener, tls in contexts.items()
    ]
    (directory / LISTENING).write_text(str(os.getpid()))
    await stop.wait()
    for server in servers:
        server.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.sink_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--keep-mails", action="store_true")
    arguments = parser.parse_args()
    try:
        script = read_script(arguments.script)
    except (OSError, tomllib.TOMLDecodeError) as error:
        sys.exit(f"{arguments.script}: {error}")
    except ValidationError as error:
        sys.exit("\n".join(f"{arguments.script}: {place}: {words}" for place, words in mistakes(error).items()))
    serve(arguments.port, arguments.dir, script, keep_mails=arguments.keep_mails)


if __name__ == "__main__":
    main()

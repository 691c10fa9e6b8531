"""One worker of `perf.bench_limits`: it begins a mail at each permit of one limit, and writes down when."""

import asyncio
import time
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from senders.shaping.gcra import PacedLimit
from senders.shaping.permit_taker import PermitTaker
from senders.shaping.permits import PermitBook
from senders.shaping.quantities import SendRate

LOOK_S = 0.002
"""How often a worker looks for a permit of its own: event loops are no more precise under load."""
WAITING = 100_000
"""Mails that wait for a permit: more than a limit lets begin."""


async def send(database_url: str, limit: PacedLimit, seconds: float, file: Path) -> None:
    """Uses all permits that it gets. Each line of `file` gets the microseconds at which mails were begun."""
    database = AsyncDatabase(database_url, Outage("timescale"))
    taker = PermitTaker(database)
    book = taker.book(limit)
    ends_s = time.monotonic() + seconds
    taking: asyncio.Task[None] | None = None
    with file.open("wb", buffering=0) as out:
        try:
            while time.monotonic() < ends_s:
                _begin(taker, book, out)
                if taking is not None and taking.done():
                    taking.result()
                    taking = None
                if taking is None and (wanted := book.request(taker.reading(), WAITING)):
                    taking = asyncio.create_task(taker.take([wanted]))
                await asyncio.sleep(LOOK_S)
        finally:
            if taking is not None:
                taking.cancel()
                with suppress(asyncio.CancelledError):
                    await taking
            await database.close()


def _begin(taker: PermitTaker, book: PermitBook, out: BinaryIO) -> None:
    begun = array("q")
    while book.use(taker.reading()):
        begun.append(time.monotonic_ns() // 1000)
    if begun:
        out.write(begun.tobytes())


def main(
    database_url: str, name: str, rate: str, seconds: float, file: Annotated[Path, typer.Argument(dir_okay=False)]
) -> None:
    """Run one worker."""
    asyncio.run(send(database_url, PacedLimit.of(name, SendRate.parse(rate)), seconds, file))


if __name__ == "__main__":
    typer.run(main)

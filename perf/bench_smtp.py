"""`python -m perf.bench_smtp`: the CPU of our SMTP client a mail, and mails a second over a long line.

The receiver is a process of its own (`perf.smtp_receiver`). Variants alternate in one process; a figure is their best
round, of the CPU of this process only. Beside ours stands aiosmtplib, one command after the other.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import aiosmtplib
import typer
from pydantic import BaseModel, Field

from perf import results
from senders.channels.smtp.channel import SmtpChannel
from senders.settings import SenderSettings

FILE = results.FILE.with_name("smtp.jsonl")
SENDER, RECIPIENT = "hello@shop.example", "zoe@mail.example"
WAYS = {"aiosmtplib": (), "one by one": (), "pipelined": ("PIPELINING",), "chunked": ("PIPELINING", "CHUNKING")}
"""What the receiver offers, by the way that mails go."""
FLIGHTS = {"aiosmtplib": 4, "one by one": 4, "pipelined": 2, "chunked": 1}
"""How often a mail waits for the receiver."""
DELAY_MS, CONNECTIONS = 50, 16


class ClientCost(BaseModel):
    """The CPU of one mail in this process, in microseconds: the best of the rounds."""

    way: str
    tls: bool
    size_kb: int
    cpu_us: float


class LineSpeed(BaseModel):
    """Mails a second by all connections together, where a reply takes DELAY_MS."""

    way: str
    mails_per_s: float


class SmtpRun(results.BenchRun):
    """Everything of one run."""

    settings: dict[str, int]
    costs: list[ClientCost] = Field(default_factory=list)
    speeds: list[LineSpeed] = Field(default_factory=list)


@contextmanager
def receiver(way: str, *, tls: bool = False, delay_ms: int = 0) -> Iterator[int]:
    """A receiver for mails by this way, in its own process; its port."""
    offers = [word for keyword in WAYS[way] for word in ("--offer", keyword)]
    command = [sys.executable, "-m", "perf.smtp_receiver", *offers, "--delay-ms", str(delay_ms)]
    with subprocess.Popen([*command, "--tls" if tls else "--no-tls"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None, "it is a pipe"
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def mail(size_kb: int) -> bytes:
    """A mail of about this size, in lines as long as those of quoted-printable."""
    line = b"The quick brown fox jumps over the lazy dog, and the dog does not mind. =20\r\n"
    return b"Subject: measured\r\n\r\n" + line * (size_kb * 1024 // len(line))


@asynccontextmanager
async def connected(way: str, port: int, *, tls: bool = False) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
    """A connection, as what sends one mail by it."""
    if way == "aiosmtplib":
        theirs = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=tls, validate_certs=False)
        await theirs.connect()

        async def send(message: bytes) -> None:
            await theirs.sendmail(SENDER, [RECIPIENT], message)

        yield send
        await theirs.quit()
        return
    fields = {"suppression_key": "a secret of the benches", "smtp_port": port, "mails_per_connection": 1_000_000}
    client = SmtpChannel.of(SenderSettings.model_validate(fields)).client()

    async def send_by_ours(message: bytes) -> None:
        result = await client.send(SENDER, RECIPIENT, message)
        assert result.state == "accepted", result

    yield send_by_ours
    await client.close()


def costs(count: int, rounds: int) -> list[ClientCost]:
    """The CPU a mail, for each way, plain and over TLS, with 10 and 50 KB."""
    return [cost for size_kb in (10, 50) for tls in (False, True) for cost in _costs(size_kb, tls, count, rounds)]


def _costs(size_kb: int, tls: bool, count: int, rounds: int) -> list[ClientCost]:
    message, best = mail(size_kb), dict.fromkeys(WAYS, float("inf"))
    for _ in range(rounds):
        for way in WAYS:
            with receiver(way, tls=tls) as port:
                best[way] = min(best[way], asyncio.run(_cost(way, port, count, message, tls)))
    return [ClientCost(way=way, tls=tls, size_kb=size_kb, cpu_us=round(cost, 1)) for way, cost in best.items()]


async def _cost(way: str, port: int, count: int, message: bytes, tls: bool) -> float:
    """The microseconds of a mail, without those of the connection: the best of ten blocks."""
    block, best = max(1, count // 10), float("inf")
    async with connected(way, port, tls=tls) as send:
        await send(message)
        for _ in range(10):
            before = time.process_time()
            for _ in range(block):
                await send(message)
            best = min(best, (time.process_time() - before) / block * 1e6)
    return best


def speeds(seconds: float) -> list[LineSpeed]:
    """Mails a second over 16 connections where a reply takes 50 ms, for each way."""
    return [LineSpeed(way=way, mails_per_s=round(_speed(way, seconds), 1)) for way in WAYS]


def _speed(way: str, seconds: float) -> float:
    each = max(2, int(seconds / (DELAY_MS / 1000) / FLIGHTS[way]))
    with receiver(way, delay_ms=DELAY_MS) as port:
        return asyncio.run(_line_speed(way, port, each, mail(10)))


async def _line_speed(way: str, port: int, each: int, message: bytes) -> float:
    async def send_all() -> None:
        async with connected(way, port) as send:
            for _ in range(each):
                await send(message)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(send_all())
    return CONNECTIONS * each / (time.perf_counter() - began)


def main(
    mails: Annotated[int, typer.Option(min=10, help="Mails of a round.")] = 2000,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; a cost is the best of them.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="How long one speed is measured, about.")] = 8,
    file: Annotated[Path, typer.Option("--record", help="The file that results are appended to.")] = FILE,
) -> None:
    """Measure our SMTP client beside aiosmtplib.

    Example: `python -m perf.bench_smtp --mails 500 --rounds 2`
    """
    settings = {"mails": mails, "rounds": rounds, "delay_ms": DELAY_MS, "connections": CONNECTIONS}
    run = SmtpRun(versions=results.versions(("aiosmtplib",)), settings=settings)
    run.costs, run.speeds = costs(mails, rounds), speeds(seconds)
    results.append(run, file)
    for cost in run.costs:
        transport = "TLS" if cost.tls else "plain"
        sys.stdout.write(f"{cost.cpu_us:>8.1f} µs CPU  {cost.size_kb} KB {transport:<6} {cost.way}\n")
    for speed in run.speeds:
        sys.stdout.write(
            f"{speed.mails_per_s:>8.1f} mails/s  {DELAY_MS} ms a reply, {CONNECTIONS} connections  {speed.way}\n"
        )


if __name__ == "__main__":
    typer.run(main)

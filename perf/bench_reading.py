"""`python -m perf.bench_reading`: what reading calls costs ingest, without a server or Kafka. Records nothing.

The calls are those of `make bench-ingest`. The key's secret is found in the header, the body is inflated, and each
event is finished and checked. A figure is the least CPU time of the rounds, which alternate.
"""

import gzip
import time
import uuid
from base64 import b64encode
from datetime import UTC, datetime
from typing import Annotated

import typer

from perf.ingest_loads import calls
from web.ingest.calls import read
from web.ingest.credentials import written_key
from web.ingest.inflation import inflated
from web.ingest.paths import call_at
from web.ingest.reading import Reading
from web.ingest.rules import ReadingRules
from web.keys.write_key import KeyClass, WriteKey

SECRET = "wk_0123456789abcdef"  # noqa: S105  # of no key
KEY = WriteKey("bench", KeyClass.SERVER, "bench")
RULES = ReadingRules(lambda: uuid.uuid4().hex)
HEADERS = {"authorization": "Basic " + b64encode(f"{SECRET}:".encode()).decode()}
LARGEST = 4_194_304


def main(rounds: Annotated[int, typer.Option(min=1, help="Rounds of each part.")] = 20) -> None:
    """Measure the CPU time of an item, in microseconds."""
    bodies = calls(datetime.now(UTC))
    batches = bodies["batch"]
    bodies["batch, gzip"] = batches._replace(bodies=[gzip.compress(body) for body in batches.bodies])
    least = {name: float("inf") for name in bodies}
    for _ in range(rounds):
        for name, (path, of_load, items) in bodies.items():
            begun = time.process_time()
            for body in of_load:
                read_one(path, body)
            spent = time.process_time() - begun
            least[name] = min(least[name], spent / len(of_load) / items)
    for name, each in least.items():
        typer.echo(f"{name:12} {each * 1e6:6.2f} µs an item")


def read_one(path: str, body: bytes) -> None:
    """Reads one call as ingest does. Raises ValueError if it is not taken."""
    call, whole, now_us = call_at(path), inflated(body, "", LARGEST), time.time_ns() // 1000
    if call is None or not isinstance(whole, bytes) or written_key(HEADERS, "", whole) != SECRET:
        raise ValueError(f"{path} is not read")
    reading = read(call, HEADERS, whole, KEY, RULES, now_us)
    if not isinstance(reading, Reading) or reading.refused:
        raise ValueError(f"a call at {path} is refused")


if __name__ == "__main__":
    typer.run(main)

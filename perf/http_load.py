"""Loads an HTTP server: as fast as it answers, with wrk, and at a steady rate, whatever it answers.

wrk comes from Debian's package if the system has none, unpacked into `.local` and not installed.
"""

import asyncio
import platform
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import orjson
import uvloop
from pydantic import BaseModel

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.layout import PROJECT_ROOT
from infra.local.timescale.apt import PrivateApt

WRK_PACKAGES = ("wrk", "libluajit-5.1-2")
TICK_S = 0.001
WARM_UP_S = 1.0
LAST_ANSWERS_S = 10.0


@dataclass(frozen=True, slots=True)
class HttpLoad:
    """Requests, one after the other and again from the first."""

    name: str
    requests: Sequence[str]
    """Whole ones."""
    items: int = 1
    """Of each request."""

    def write(self, folder: Path) -> Path:
        """Writes them as JSON, for both programs."""
        file = folder / f"{self.name}.json"
        file.write_bytes(orjson.dumps(self.requests))
        return file


def posts(path: str, bodies: Sequence[bytes], key: str) -> list[str]:
    """Calls of an SDK that carry a key."""
    head = f"POST {path} HTTP/1.1\r\nHost: ingest\r\nAuthorization: Basic {key}\r\nContent-Type: application/json\r\n"
    return [f"{head}Content-Length: {len(body)}\r\n\r\n{body.decode()}" for body in bodies]


class FastLoad(BaseModel):
    """What a server answered to requests that came as fast as it answered."""

    requests_per_s: float
    requests: int
    failed: int
    """Answers but 2xx, and connections that broke."""


class SteadyLoad(BaseModel):
    """What a server answered at a steady rate. Times are counted from when a request was due."""

    requests_per_s: float
    requests: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float


_SCRIPT = """
local requests = {{}}
for line in io.lines("{lines}") do
  requests[#requests + 1] = (line:gsub("\\\\r", "\\r"):gsub("\\\\n", "\\n"))
end
local at = 0
request = function() at = at % #requests + 1; return requests[at] end
"""


def as_fast_as_answered(port: int, load: HttpLoad, connections: int, seconds: float, folder: Path) -> FastLoad:
    """Loads the server by wrk; raises SetupProblem if that cannot be had."""
    program, environment = _wrk()
    lines, script = folder / f"{load.name}.lines", folder / f"{load.name}.lua"
    # a body is JSON without backslashes, so the escapes of a line are those of the head alone
    lines.write_text("".join(each.replace("\r", "\\r").replace("\n", "\\n") + "\n" for each in load.requests))
    script.write_text(_SCRIPT.format(lines=lines))
    command = [
        str(program),
        "-t1",
        f"-c{connections}",
        f"-d{seconds:g}s",
        "-s",
        str(script),
        f"http://127.0.0.1:{port}",
    ]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return FastLoad(
        requests_per_s=float(_of(r"Requests/sec:\s+([\d.]+)", found)),
        requests=int(_of(r"(\d+) requests in", found)),
        failed=int(_of(r"Non-2xx or 3xx responses: (\d+)", found, "0"))
        + sum(map(int, re.findall(r"(?:connect|read|write|timeout) (\d+)", found))),
    )


def _of(pattern: str, text: str, otherwise: str = "nan") -> str:
    match = re.search(pattern, text)
    return otherwise if match is None else match[1]


def _wrk() -> tuple[Path, dict[str, str]]:
    if installed := shutil.which("wrk"):
        return Path(installed), {}
    place, log = PROJECT_ROOT / ".local" / "wrk", PROJECT_ROOT / ".local" / "logs" / "wrk.log"
    with locked(place.with_suffix(".lock")):
        if not is_installed(place, "1"):
            with installing(place, "1") as new:
                apt = PrivateApt(new / "apt", log)
                apt.update(platform.freedesktop_os_release()["VERSION_CODENAME"])
                apt.download(list(WRK_PACKAGES), new / "debs")
                for deb in sorted((new / "debs").glob("*.deb")):
                    run(["dpkg-deb", "-x", deb, new], log=log, failure=f"{deb.name} could not be unpacked")
    libraries = next((place / "usr/lib").glob("*-linux-gnu"))
    return place / "usr/bin/wrk", {"LD_LIBRARY_PATH": str(libraries)}


def at_a_steady_rate(
    port: int, load: HttpLoad, connections: int, rate: float, seconds: float, folder: Path
) -> SteadyLoad:
    """Loads the server by a process of its own."""
    command = [sys.executable, "-m", "perf.http_load", str(port), str(load.write(folder)), str(connections)]
    found = subprocess.run([*command, str(rate), str(seconds)], capture_output=True, text=True, check=True).stdout
    return SteadyLoad.model_validate_json(found)


class _Client(asyncio.Protocol):
    """One connection, which sends a request when the one before is answered."""

    def __init__(self, load: "_Steady") -> None:
        self._load = load
        self._received = b""
        self._due_s = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._load.free.append(self)

    def send(self, request: bytes, due_s: float) -> None:
        assert self.transport is not None
        self._due_s = due_s
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
            return
        self._received = b""
        self._load.answered(self._due_s, ok=head[9:10] in b"23")
        self._load.free.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._load.broken += 1


class _Steady:
    """Sends requests when they are due, on connections that are free."""

    def __init__(self, requests: Sequence[bytes], rate: float, seconds: float) -> None:
        self.free: deque[_Client] = deque()
        self.broken = 0
        self._requests = requests
        self._rate = rate
        self._seconds = seconds
        self._times: list[float] = []
        self._failed = 0
        self._answers = 0
        self._began_s = 0.0

    def answered(self, due_s: float, *, ok: bool) -> None:
        self._answers += 1
        self._failed += not ok
        if due_s - self._began_s > WARM_UP_S:
            self._times.append(time.perf_counter() - due_s)

    async def run(self, port: int, connections: int) -> SteadyLoad:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Client(self), "127.0.0.1", port)
        sent, total = 0, int(self._rate * (self._seconds + WARM_UP_S))
        self._began_s = time.perf_counter()
        end_s = self._began_s + 2 * (self._seconds + WARM_UP_S)
        while sent < total and not self.broken and time.perf_counter() < end_s:
            due = min(total, int((time.perf_counter() - self._began_s) * self._rate))
            while sent < due and self.free:
                request = self._requests[sent % len(self._requests)]
                self.free.popleft().send(request, self._began_s + sent / self._rate)
                sent += 1
            await asyncio.sleep(TICK_S)
        end_s = time.perf_counter() + LAST_ANSWERS_S
        while self._answers < sent and time.perf_counter() < end_s:
            await asyncio.sleep(0.01)
        took_s = time.perf_counter() - self._began_s
        times = sorted(self._times) or [took_s]
        return SteadyLoad(
            requests_per_s=self._answers / took_s,
            requests=self._answers,
            failed=self._failed + total - self._answers,
            p50_ms=1000 * times[len(times) // 2],
            p99_ms=1000 * times[int(len(times) * 0.99)],
            max_ms=1000 * times[-1],
        )


def main(port: int, file: Path, connections: int, rate: float, seconds: float) -> None:
    """Load a server at a steady rate, and report."""
    requests = [each.encode() for each in orjson.loads(file.read_bytes())]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_Steady(requests, rate, seconds).run(port, connections))
    sys.stdout.write(found.model_dump_json())


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]))

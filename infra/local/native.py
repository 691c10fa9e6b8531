"""Both servers as native processes of this machine: no container, no root."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from infra.local.engine import Endpoints, ReportLine, ServerStatus, quiet
from infra.local.kafka.server import KafkaServer
from infra.local.layout import Layout
from infra.local.ports import Ports
from infra.local.server import NativeServer
from infra.local.timescale.install import bin_directory
from infra.local.timescale.server import TimescaleServer

T = TypeVar("T")
FOLLOW_POLL_S = 0.2


class NativeEngine:
    """Apache Kafka and TimescaleDB as processes. See `infra.local.engine.Engine`."""

    name = "native"

    def __init__(self, ports: Ports, layout: Layout | None = None) -> None:
        self.ports = ports
        self.layout = layout or Layout.of_project()
        self.kafka = KafkaServer(self.layout, ports)
        self.timescale = TimescaleServer(self.layout, ports)

    @property
    def endpoints(self) -> Endpoints:
        """Where clients find the servers once they are up."""
        return Endpoints.on(self.ports)

    @property
    def servers(self) -> tuple[NativeServer, ...]:
        """Both servers."""
        return (self.kafka, self.timescale)

    def up(self, report: ReportLine = quiet) -> list[str]:
        """Starts the servers that are not running, in parallel; returns their names."""
        for server in self.servers:
            if server.process() is None or server.misplaced():
                server.require_ports()  # all before any start, so that a port in use changes nothing
        started = {server.name: False for server in self.servers}

        def start(server: NativeServer) -> None:
            started[server.name] = self._start(server, report)

        try:
            self._on_each(start)
        except BaseException:
            self._on_each(lambda server: started[server.name] and server.stop())
            raise
        return [name for name, here in started.items() if here]

    def down(self) -> list[str]:
        """Stops the running servers; returns their names."""
        stopped = self._on_each(NativeServer.stop)
        return [server.name for server, ran in zip(self.servers, stopped, strict=True) if ran]

    def status(self) -> list[ServerStatus]:
        """The state of every server."""
        return [server.status() for server in self.servers]

    def logs(self, lines: int = 50, follow: bool = False) -> Iterator[str]:
        """The last lines of each log and, with `follow`, new lines without end."""
        logs = {server.name: server.log for server in self.servers if server.log.exists()}
        read_to: dict[str, int] = {}
        tails: list[str] = []
        for name, log in logs.items():
            with log.open("rb") as file:
                tails += (f"{name} | {_text(line)}" for line in deque(file, maxlen=lines))
                read_to[name] = file.tell()
        yield from tails
        if follow:
            yield from _follow(logs, read_to)

    def _start(self, server: NativeServer, report: ReportLine) -> bool:
        began = time.monotonic()
        moved = server.misplaced()
        if server.install():
            report(f"{server.name}: fetched in {time.monotonic() - began:.0f} s")
            began = time.monotonic()
        here = server.start()
        if here:
            verb = "moved to" if moved else "up on"
            report(f"{server.name}: {verb} 127.0.0.1:{server.port} in {time.monotonic() - began:.1f} s")
        return here

    def _on_each(self, action: Callable[[NativeServer], T]) -> list[T]:
        with ThreadPoolExecutor(len(self.servers)) as pool:
            futures: list[Future[T]] = [pool.submit(action, server) for server in self.servers]
        return [future.result() for future in futures]


def psql_program(programs: Path | None = None) -> Path:
    """The psql of PostgreSQL 17, fetched with the server; `programs` is by default `.local` of this checkout."""
    layout = Layout.of_project()
    return bin_directory(layout if programs is None else Layout(programs, programs)) / "psql"


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip()


def _follow(logs: dict[str, Path], read_to: dict[str, int]) -> Iterator[str]:
    """New lines of the logs, without end. A log that became shorter is read from its beginning."""
    while True:
        for name, log in logs.items():
            with log.open("rb") as file:
                if os.fstat(file.fileno()).st_size < read_to[name]:
                    read_to[name] = 0
                file.seek(read_to[name])
                whole, newline, _ = file.read().rpartition(b"\n")
            read_to[name] += len(whole) + len(newline)
            yield from (f"{name} | {_text(line)}" for line in whole.split(b"\n") if newline)
        time.sleep(FOLLOW_POLL_S)

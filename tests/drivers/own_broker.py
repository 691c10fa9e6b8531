"""A Kafka of a test's own, for the tests that take it away, fill its disk or ask for its password."""

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drivers.memory_data import forget_data, new_data
from drivers.real_servers import RealServers

from infra.local.kafka.server import KafkaServer
from infra.local.layout import Layout
from infra.local.ports import Ports

DISTANCE = 50
"""Of its ports from those of the shared test servers."""
FORMATTED = ("meta.properties", "bootstrap.checkpoint")
"""What the tool that formats writes."""


class OwnBroker(KafkaServer):
    """The local Kafka with lines added to its configuration, which may be frozen."""

    extra: str = ""
    formatted: Path | None = None
    """The data of a broker that was formatted: the tool would take two seconds of a JVM to write the same."""

    @property
    def address(self) -> str:
        """Where its clients connect."""
        return f"127.0.0.1:{self.port}"

    def freeze(self) -> None:
        """It keeps its connections and answers no request."""
        status = Path(f"/proc/{self._signal(signal.SIGSTOP)}/status")
        while "State:\tT" not in status.read_text():
            time.sleep(0.01)

    def thaw(self) -> None:
        """It goes on where it was."""
        self._signal(signal.SIGCONT)

    def _signal(self, what: signal.Signals) -> int:
        process = self.process()
        assert process is not None
        os.kill(process.pid, what)
        return process.pid

    def prepare(self) -> None:
        """Copies a formatted data directory, where there is one."""
        data = self.layout.data(self.name)
        if self.formatted is not None and not data.exists():
            (data / "log").mkdir(parents=True)
            for name in FORMATTED:
                shutil.copy(self.formatted / name, data / "log")
        super().prepare()

    def _configure(self, data: Path) -> None:
        super()._configure(data)
        with self.settings.open("a") as file:
            file.write(self.extra)


@contextmanager
def own_broker(servers: RealServers, folder: Path, extra: str = "", *, in_memory: bool = True) -> Iterator[OwnBroker]:
    """A broker, up, with its data in memory or below `folder`; killed at the end, because it is not needed any more."""
    home = folder / "broker"
    broker = OwnBroker(Layout.of_project().in_own_partition(home), Ports(servers.ports.base + DISTANCE))
    broker.extra = extra
    if isinstance(servers.kafka_server, KafkaServer):
        broker.formatted = servers.kafka_server.layout.data(KafkaServer.name) / "log"
    if in_memory:
        new_data(home / "data")
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        forget_data(home / "data")

"""The local Kafka as one Java process: broker and KRaft controller in one, on loopback."""

import signal
import string
from pathlib import Path
from typing import ClassVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.local.fetching import installing, run
from infra.local.holders import LOOPBACK, require_free
from infra.local.kafka import install
from infra.local.maven import require
from infra.local.server import NativeServer

HERE = Path(__file__).parent
CLUSTER_ID = "EbbtideLocalKafkaAAAAA"  # 16 bytes in URL-safe base64, as Kafka wants
HEAP = ("-Xms256m", "-Xmx512m")
METADATA_TIMEOUT_S = 5.0


class KafkaServer(NativeServer):
    """Apache Kafka, in KRaft mode."""

    name: ClassVar[str] = "kafka"
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @property
    def port(self) -> int:
        """The listener for clients."""
        return self.ports.kafka

    @property
    def settings(self) -> Path:
        """Its configuration file."""
        return self.layout.home / "run" / "kafka.properties"

    @property
    def marks(self) -> tuple[Path, ...]:
        """Its configuration file."""
        return (self.settings,)

    def install(self) -> bool:
        """Installs the jars."""
        return install.install(self.layout)

    def require_ports(self) -> None:
        """Raises `SetupProblem` if another process has one of its two ports."""
        super().require_ports()
        require_free(self.ports.controller, "kafka's controller")

    def prepare(self) -> None:
        """Writes the configuration, and formats the data directory once."""
        data = self.layout.data(self.name)
        if not data.exists():
            with installing(data, CLUSTER_ID) as new:
                self._configure(new / "log")
                self._format()
        self._configure(data / "log")

    def command(self) -> list[str | Path]:
        """The broker."""
        return [*self._java("kafka.Kafka", *HEAP), self.settings]

    def ready(self) -> bool:
        """Whether it answers a metadata request and lists itself as a broker."""
        client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{self.port}", "log_level": 0})
        try:
            return bool(client.list_topics(timeout=METADATA_TIMEOUT_S).brokers)
        except KafkaException:
            return False

    def complete(self) -> None:
        """Nothing: `infra.kafka.topic_setup` creates the topics."""

    def _configure(self, data: Path) -> None:
        template = string.Template((HERE / "server.properties").read_text())
        self.settings.parent.mkdir(parents=True, exist_ok=True)
        self.settings.write_text(
            template.substitute(client_port=self.ports.kafka, controller_port=self.ports.controller, data=data)
        )

    def _format(self) -> None:
        tool = self._java("kafka.tools.StorageTool", "-XX:TieredStopAtLevel=1")
        run(
            [*tool, "format", "--cluster-id", CLUSTER_ID, "--config", self.settings],
            log=self.layout.log("kafka-format"),
            failure="Kafka could not format its data directory",
        )

    def _java(self, main: str, *options: str) -> list[str | Path]:
        java = require("java", install.JAVA_MISSING)
        jars = self.layout.programs / "kafka" / "libs" / "*"
        return [java, *options, f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}", "-cp", jars, main]

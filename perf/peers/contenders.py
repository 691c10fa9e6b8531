"""The peers as programs that are measured: how each is started, and where it writes."""

from collections.abc import Sequence
from pathlib import Path

from infra.local.kafka.install import JAVA_MISSING
from infra.local.layout import Layout
from infra.local.maven import require
from perf.broker import Broker
from perf.peers.build import Build, Peer, build
from perf.programs import FLINK, KAFKA_STREAMS, Program
from schemas.topics import COMMANDS, EVENTS

HERE = Path(__file__).parent
PEERS = (
    Peer(KAFKA_STREAMS, HERE / "kafka-streams", "ebbtide.peers.KafkaStreamsPeer"),
    Peer(FLINK, HERE / "flink", "ebbtide.peers.FlinkPeer"),
)
JVM = ("-Xmx1g", "-XX:+UseG1GC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
ARTIFACTS = {
    "kafka-streams": ("kafka-streams", "kafka-clients"),
    "flink": ("flink-streaming-java", "flink-connector-kafka"),
}
"""The jars whose versions a record says."""


def peers() -> list[Program]:
    """All of them, built if they are not. Raises `SetupProblem`."""
    java = require("java", JAVA_MISSING)
    return [_program(java, peer, build(peer, Layout.of_project())) for peer in PEERS]


def peer_versions() -> dict[str, str]:
    """Of each peer and its Kafka client or connector."""
    built = {peer.folder: build(peer, Layout.of_project()) for peer in PEERS}
    return {name: built[folder].version(name) for folder, names in ARTIFACTS.items() for name in names}


def _program(java: str, peer: Peer, built: Build) -> Program:
    group = f"perf-{peer.folder}"

    def arguments(broker: Broker, group: str, events: int) -> Sequence[str]:  # noqa: ARG001 - a signal ends it
        return (broker.kafka, group, EVENTS.name, f"{group}-commands", str(broker.faust / group))

    return Program(
        peer.name,
        group,
        arguments,
        {"commands": COMMANDS},
        does_the_rule=True,
        program=(java, *JVM, "-cp", built.classpath, peer.main),
        late_last_commit=peer.name == FLINK,  # its reader commits after a poll, which waits 10 s if nothing comes
    )

"""Fetching Apache Kafka's published jars through Maven into `.local/kafka/libs`. Standard library only."""

import hashlib
import os
import shutil
from pathlib import Path

from infra.local.fetching import installing, is_installed, locked, run
from infra.local.layout import Layout
from infra.local.problems import SetupProblem

POM = Path(__file__).with_name("pom.xml")
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
# Maven runs once for half a minute: the optimising compiler costs more than it gives, and takes a core from pip.
MAVEN_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# A repository that accepts and says nothing: by itself Maven waits half an hour. Up to 3.8, and from 3.9.
MAVEN_PATIENCE = (
    "-Dmaven.wagon.rto=30000",
    "-Dmaven.wagon.http.retryHandler.count=1",
    "-Daether.connector.connectTimeout=20000",
    "-Daether.connector.requestTimeout=30000",
)
JAVA_MISSING = "Java 17 is missing: type `apt-get install openjdk-17-jre-headless` as root"
MAVEN_MISSING = "Maven is missing: type `apt-get install maven` as root"


def require(program: str, otherwise: str) -> str:
    """The program's path; raises `SetupProblem(otherwise)` where it is not installed."""
    path = shutil.which(program)
    if path is None:
        raise SetupProblem(otherwise)
    return path


def install(layout: Layout) -> bool:
    """Put the jars in place unless they are there; true where it had to fetch them.

    Raises `SetupProblem` where Maven is missing or cannot fetch; nothing is left in place then.
    """
    place, version = layout.programs / "kafka", hashlib.sha256(POM.read_bytes()).hexdigest()
    if is_installed(place, version):
        return False
    with locked(layout.programs / "kafka.lock"):
        if is_installed(place, version):
            return False
        require("java", JAVA_MISSING)
        maven = require("mvn", MAVEN_MISSING)
        with installing(place, version) as new:
            _copy_jars(maven, new, layout.log("install-kafka"))
    return True


def _copy_jars(maven: str, new: Path, log: Path) -> None:
    run(
        [
            maven,
            "-q",
            "-B",
            *MAVEN_PATIENCE,
            "-f",
            POM,
            PLUGIN,
            f"-DoutputDirectory={new / 'libs'}",
            "-DincludeScope=runtime",
        ],
        log=log,
        failure="Kafka's jars could not be fetched through Maven: check the network, or the mirror in "
        "~/.m2/settings.xml, and run the same command again",
        marks=("[ERROR] Plugin", "[ERROR] Failed", "[ERROR]"),
        environment={"MAVEN_OPTS": f"{MAVEN_JVM} {os.environ.get('MAVEN_OPTS', '')}"},
    )
    if not any((new / "libs").glob("kafka_*.jar")):
        raise SetupProblem(f"Maven ended well but {new / 'libs'} has no Kafka jar: see {log}")

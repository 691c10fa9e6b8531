"""Fetches the published jars of Apache Kafka with Maven into `.local/kafka/libs`. Standard library only."""

import hashlib
from pathlib import Path

from infra.local.fetching import installing, is_installed, locked
from infra.local.layout import Layout
from infra.local.maven import MAVEN_MISSING, copy_jars, require
from infra.local.problems import SetupProblem

POM = Path(__file__).with_name("pom.xml")
JAVA_MISSING = "Java 17 is missing: type `apt-get install openjdk-17-jre-headless` as root"


def install(layout: Layout) -> bool:
    """Installs the jars if they are missing; true if it had to fetch them.

    Raises `SetupProblem` if Maven is missing or cannot fetch; nothing is left in place then.
    """
    place, version = layout.programs / "kafka", hashlib.sha256(POM.read_bytes()).hexdigest()
    if is_installed(place, version):
        return False
    with locked(layout.programs / "kafka.lock"):
        if is_installed(place, version):
            return False
        require("java", JAVA_MISSING)
        require("mvn", MAVEN_MISSING)
        with installing(place, version) as new:
            _copy_jars(new, layout.log("install-kafka"))
    return True


def _copy_jars(new: Path, log: Path) -> None:
    copy_jars("Kafka's", POM, new / "libs", log)
    if not any((new / "libs").glob("kafka_*.jar")):
        raise SetupProblem(f"Maven ended well but {new / 'libs'} has no Kafka jar: see {log}")

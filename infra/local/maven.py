"""Fetching Java programs through Maven. Standard library only."""

import os
import shutil
from pathlib import Path

from infra.local.fetching import run
from infra.local.problems import SetupProblem

PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
# Maven runs once for half a minute: the optimising compiler costs more than it saves, and takes a core from pip.
MAVEN_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
# If a repository accepts and does not answer, Maven waits half an hour by default. Options up to 3.8, and from 3.9.
MAVEN_TIMEOUTS = (
    "-Dmaven.wagon.rto=30000",
    "-Dmaven.wagon.http.retryHandler.count=1",
    "-Daether.connector.connectTimeout=20000",
    "-Daether.connector.requestTimeout=30000",
)
MAVEN_MISSING = "Maven is missing: type `apt-get install maven` as root"


def require(program: str, message: str) -> str:
    """The path of the program; raises `SetupProblem(message)` if it is not installed."""
    path = shutil.which(program)
    if path is None:
        raise SetupProblem(message)
    return path


def copy_jars(what: str, pom: Path, folder: Path, log: Path) -> None:
    """Put the jars that the pom names, and theirs, into the folder. Raises `SetupProblem`, which begins with `what`."""
    run(
        [
            require("mvn", MAVEN_MISSING),
            "-q",
            "-B",
            *MAVEN_TIMEOUTS,
            "-f",
            pom,
            PLUGIN,
            f"-DoutputDirectory={folder}",
            "-DincludeScope=runtime",
        ],
        log=log,
        failure=f"{what} jars could not be fetched through Maven: check the network, or the mirror in "
        "~/.m2/settings.xml, and run the same command again",
        marks=("[ERROR] Plugin", "[ERROR] Failed", "[ERROR]"),
        environment={"MAVEN_OPTS": f"{MAVEN_JVM} {os.environ.get('MAVEN_OPTS', '')}"},
    )

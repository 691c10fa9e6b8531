"""Both servers as containers of the official images, run by `docker compose` with infra/compose.yaml."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from infra.local.engine import Endpoints, ReportLine, ServerStatus, State, quiet
from infra.local.layout import PROJECT_ROOT
from infra.local.ports import Ports
from infra.local.problems import SetupProblem

FILE = PROJECT_ROOT / "infra" / "compose.yaml"
SERVICES = ("kafka", "timescale")
OR_NATIVE = "or use the native servers, which need no container engine"


class ComposeServer:
    """One service of the compose file. See `infra.local.engine.Server`."""

    def __init__(self, engine: "ComposeEngine", name: str) -> None:
        self.engine = engine
        self.name = name

    def start(self) -> bool:
        """Starts it; healthy on return. True if it was not running."""
        ran = self.status().state != "stopped"
        self.engine.compose("up", "--detach", "--wait", "--no-deps", self.name)
        return not ran

    def stop(self) -> bool:
        """Stops it cleanly; true if it was running."""
        ran = self.status().state != "stopped"
        self.engine.compose("stop", self.name)
        return ran

    def kill(self) -> None:
        """Kills it with SIGKILL."""
        if self.status().state != "stopped":
            self.engine.compose("kill", "--signal", "SIGKILL", self.name)

    def status(self) -> ServerStatus:
        """Its state now."""
        return next(status for status in self.engine.status() if status.name == self.name)


class ComposeEngine:
    """Apache Kafka and TimescaleDB as containers. See `infra.local.engine.Engine`."""

    name = "compose"

    def __init__(self, ports: Ports, home: Path) -> None:
        self.ports = ports
        # The project name owns containers and volumes: another checkout, or the tests' servers, must not share them.
        self.project = f"ebbtide-{hashlib.blake2b(os.fsencode(home.absolute()), digest_size=4).hexdigest()}"
        self.kafka = ComposeServer(self, "kafka")
        self.timescale = ComposeServer(self, "timescale")

    @property
    def endpoints(self) -> Endpoints:
        """Where clients find the servers once they are up."""
        return Endpoints.on(self.ports)

    def require(self) -> None:
        """Raises `SetupProblem` if no container engine answers, or if it has no compose."""
        if shutil.which("docker") is None:
            raise SetupProblem(f"docker is not installed: install it, {OR_NATIVE}")
        for arguments in (["info"], ["compose", "version"]):
            done = self._docker(arguments)
            if done.returncode != 0:
                error_lines = done.stderr.strip().splitlines() or ["no answer"]
                raise SetupProblem(
                    f"no container engine with compose answers ({error_lines[-1]}): start one, {OR_NATIVE}"
                )

    def up(self, report: ReportLine = quiet) -> list[str]:
        """Starts the servers that are not running, or run on other ports; returns their names."""
        before = {status.name for status in self.status() if status.state == "running"}
        self.compose("up", "--detach", "--wait")
        started = [name for name in SERVICES if name not in before]
        for name in started:
            report(f"{name}: up on {self._address(name)}")
        return started

    def down(self) -> list[str]:
        """Removes the containers. Their volumes, and so the data, stay."""
        ran = [status.name for status in self.status() if status.state != "stopped"]
        self.compose("down")
        return ran

    def status(self) -> list[ServerStatus]:
        """The state of every service."""
        states = parse_ps(self.compose("ps", "--all", "--format", "json"))
        return [ServerStatus(name, states.get(name, "stopped"), self._address(name)) for name in SERVICES]

    def logs(self, lines: int = 50, follow: bool = False) -> Iterator[str]:
        """The last lines of each log and, with `follow`, new lines without end."""
        arguments = ["logs", "--no-color", "--tail", str(lines), *(["--follow"] * follow)]
        with subprocess.Popen(
            self._command(arguments), stdout=subprocess.PIPE, text=True, env=self._environment()
        ) as logs:
            assert logs.stdout is not None
            yield from (line.rstrip() for line in logs.stdout)

    def compose(self, *arguments: str) -> str:
        """Runs `docker compose` on our file and returns its output; raises `SetupProblem` if it fails."""
        done = self._docker(self._command(list(arguments))[1:])
        if done.returncode != 0:
            error_lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise SetupProblem(
                f"`docker compose {' '.join(arguments)}` failed ({error_lines[-1]}): see `make logs`, {OR_NATIVE}"
            )
        return done.stdout

    def _command(self, arguments: list[str]) -> list[str]:
        return ["docker", "compose", "--file", str(FILE), "--project-name", self.project, *arguments]

    def _docker(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=self._environment(),
            check=False,
        )

    def _environment(self) -> dict[str, str]:
        ports = {"EBBTIDE_KAFKA_PORT": str(self.ports.kafka), "EBBTIDE_POSTGRES_PORT": str(self.ports.postgres)}
        return {**os.environ, **ports}

    def _address(self, name: str) -> str:
        return f"127.0.0.1:{self.ports.kafka if name == 'kafka' else self.ports.postgres}"


def parse_ps(output: str) -> dict[str, State]:
    """Each service's state from `docker compose ps --format json`: one array, or since 2.21 one object a line."""
    text = output.strip()
    found = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return {container["Service"]: _state(container) for container in found}


def _state(container: dict[str, str]) -> State:
    if container["State"] not in ("running", "restarting"):
        return "stopped"
    return "running" if container.get("Health", "") in ("", "healthy") else "starting"

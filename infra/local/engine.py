"""The interface of the local servers: the same for native processes and containers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from infra.local.ports import Ports

DATABASE = "ebbtide"
DATABASE_USER = "postgres"

State = Literal["running", "starting", "stopped"]
ReportLine = Callable[[str], None]


def quiet(_line: str) -> None:
    """A report that prints nothing."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where clients find the servers."""

    kafka: str
    database_url: str

    @classmethod
    def on(cls, ports: Ports, database: str = DATABASE) -> "Endpoints":
        """The endpoints of servers on these ports of this machine."""
        return cls(f"127.0.0.1:{ports.kafka}", f"postgresql://{DATABASE_USER}@127.0.0.1:{ports.postgres}/{database}")


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One line of `ebbtide status`. `detail` has more for a person to know, or is empty."""

    name: str
    state: State
    address: str
    pid: int | None = None
    since: datetime | None = None
    detail: str = ""


class Server(Protocol):
    """One server. Each call returns when its promise holds."""

    @property
    def name(self) -> str:
        """`kafka` or `timescale`."""

    def start(self) -> bool:
        """Starts it; it answers on return. True if it was not running before. Raises `SetupProblem`."""

    def stop(self) -> bool:
        """Stops it cleanly, with its data written; true if it was running before."""

    def kill(self) -> None:
        """Kills it with SIGKILL, as in a crash."""

    def status(self) -> ServerStatus:
        """Its state now."""


class Engine(Protocol):
    """How the local servers run."""

    @property
    def name(self) -> str:
        """`native` or `compose`."""

    @property
    def endpoints(self) -> Endpoints:
        """Where clients find the servers once they are up."""

    @property
    def kafka(self) -> Server:
        """The broker."""

    @property
    def timescale(self) -> Server:
        """The store."""

    def up(self, report: ReportLine = quiet) -> list[str]:
        """Fetches missing programs and starts the servers that are not running; returns their names.

        Every server answers on return. On `SetupProblem`, the servers that this call started are stopped again.
        """

    def down(self) -> list[str]:
        """Stops the running servers; returns their names."""

    def status(self) -> list[ServerStatus]:
        """The state of every server."""

    def logs(self, lines: int = 50, follow: bool = False) -> Iterator[str]:
        """The last `lines` of each log, each as `NAME | text`; with `follow`, new lines without end."""

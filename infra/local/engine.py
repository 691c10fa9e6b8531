"""The one interface behind which native processes and containers look alike."""

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
    """A report that nobody reads."""


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
    """One line of `ebbtide status`. `detail` says what a person should know besides, else it is empty."""

    name: str
    state: State
    address: str
    pid: int | None = None
    since: datetime | None = None
    detail: str = ""


class Server(Protocol):
    """One server, as tests stop and kill it. Each call returns once what it promises holds."""

    @property
    def name(self) -> str:
        """`kafka` or `timescale`."""

    def start(self) -> bool:
        """Answering requests on return; true where it did not run before. Raises `SetupProblem`."""

    def stop(self) -> bool:
        """Ended in good order, its data written; true where it ran before."""

    def kill(self) -> None:
        """Ended by SIGKILL, as in a crash."""

    def status(self) -> ServerStatus:
        """What it is doing now."""


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
        """Fetch what is missing and start what does not run; the names of those started.

        Every server answers on return. On `SetupProblem`, what this call started is stopped again.
        """

    def down(self) -> list[str]:
        """Stop what runs; the names of those stopped."""

    def status(self) -> list[ServerStatus]:
        """Every server, running or not."""

    def logs(self, lines: int = 50, follow: bool = False) -> Iterator[str]:
        """The last `lines` of each server's log, each `NAME | text`; with `follow`, what comes after, without end."""

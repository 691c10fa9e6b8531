"""The files of the local servers: shared programs, and the data, logs and process records of each home."""

from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """`programs` has the fetched programs, `home` the files that one set of servers writes."""

    programs: Path
    home: Path

    @classmethod
    def of_project(cls, root: Path = PROJECT_ROOT) -> "Layout":
        """The checkout's own servers: everything under `.local/`."""
        return cls(root / ".local", root / ".local")

    def in_own_partition(self, home: Path) -> "Layout":
        """The layout of another set of servers: the same programs, its own files."""
        return Layout(self.programs, home)

    def data(self, server: str) -> Path:
        """The data of the server: events or rows are lost with it."""
        return self.home / "data" / server

    def log(self, server: str) -> Path:
        """The output of the server since its last start; the output of the start before is in the file with `.1`."""
        return self.home / "logs" / f"{server}.log"

    def record(self, server: str) -> Path:
        """The record of the server's process."""
        return self.home / "run" / f"{server}.json"

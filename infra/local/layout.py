"""Where the local servers live on disk: programs shared by all, data, logs and process records by home."""

from dataclasses import dataclass
from pathlib import Path

PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Layout:
    """`programs` holds what was fetched, `home` what one set of servers writes."""

    programs: Path
    home: Path

    @classmethod
    def of_project(cls, root: Path = PROJECT_ROOT) -> "Layout":
        """The checkout's own servers: everything under `.local/`."""
        return cls(root / ".local", root / ".local")

    def at_home(self, home: Path) -> "Layout":
        """Another set of servers with the same programs and files of its own."""
        return Layout(self.programs, home)

    def data(self, server: str) -> Path:
        """What the server keeps: losing it is losing events or rows."""
        return self.home / "data" / server

    def log(self, server: str) -> Path:
        """What the server printed since it was last started; the start before that is beside it, `.1`."""
        return self.home / "logs" / f"{server}.log"

    def record(self, server: str) -> Path:
        """Which process the server is."""
        return self.home / "run" / f"{server}.json"

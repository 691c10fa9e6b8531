"""A shaping file that was read: its document, and where each of its keys stands."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from senders.shaping.document import ShapingDocument, host_name
from senders.shaping.keys import DEFAULTS, LaneKeys
from senders.shaping.toml_positions import TomlPath, TomlPositions

BY_HOST = ("domain", "from_domain", "site")
"""Tables named by hosts or domains. The document keeps such a name in its one form, however it is written."""


@dataclass(frozen=True, eq=False)
class ShapingFile:
    """`name` is only shown; `hash` tells versions apart."""

    name: str
    hash: str
    document: ShapingDocument
    data: dict[str, Any] = field(repr=False)
    """As `tomllib` read it."""
    positions: TomlPositions = field(repr=False)
    base: LaneKeys = field(default=DEFAULTS, repr=False)
    """What holds where the document says nothing."""

    def place(self, path: TomlPath, *, of_value: bool = False) -> tuple[int, int]:
        """Line and column of a key, or of its value. The path names hosts as the document does."""
        position = self.positions.of(self._as_written(path))
        return self.positions.line_and_column(position.value if of_value else position.key)

    def shown(self, path: TomlPath) -> str:
        """File and line of a key, for people."""
        return f"{self.name}:{self.place(path)[0]}"

    def _as_written(self, path: TomlPath) -> TomlPath:
        if len(path) > 1 and path[0] in BY_HOST:
            return (path[0], self._written.get((str(path[0]), str(path[1])), str(path[1])), *path[2:])
        return path

    @cached_property
    def _written(self) -> dict[tuple[str, str], str]:
        return {(table, one_form(name)): name for table in BY_HOST for name in self.data.get(table, {})}


def one_form(name: str) -> str:
    """The name of a host, domain or site as the document keeps it."""
    return name.lower() if name.startswith("(") else host_name(name)


def built_in(base: LaneKeys = DEFAULTS) -> ShapingFile:
    """What holds without a file: these values, or the default of every key."""
    return ShapingFile("built-in", "", ShapingDocument(), {}, TomlPositions(""), base)

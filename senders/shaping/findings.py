"""What is wrong with a shaping file: the place, the mistake and what to write instead."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from schemas.errors import UserError
from schemas.wording import one_line

MAX_SHOWN = 200
"""The findings of one file that are kept: a hostile file has one at each character."""


@dataclass(frozen=True, slots=True, order=True)
class ShapingFinding:
    """One finding at one place; lines and columns count from 1."""

    path: str
    line: int
    column: int
    severity: Literal["error", "warning"]
    message: str
    hint: str = ""

    def __str__(self) -> str:
        """The finding on one line."""
        hint = f"; {self.hint}" if self.hint else ""
        return one_line(f"{self.path}:{self.line}:{self.column}: {self.severity}: {self.message}{hint}")


class ShapingUnreadable(UserError):
    """A shaping file that cannot be read."""


class InvalidShaping(UserError):
    """A shaping file that cannot be used, with all its findings in the order of their places."""

    def __init__(self, findings: Iterable[ShapingFinding]) -> None:
        self.findings = sorted(findings)
        super().__init__("\n".join(map(str, self.findings)))

    @property
    def line(self) -> str:
        """The first error."""
        first = next(each for each in self.findings if each.severity == "error")
        return f"{first}; `ebbtide senders check` shows every finding"

"""The sets of rules that are measured, by name: each is a folder of `perf/rules/`, or one of them several times."""

from dataclasses import dataclass, replace
from pathlib import Path

from cli.rules.rule_folder import Folder, read_folder
from triggers.language.diagnostics import SourceFile

FOLDER = Path(__file__).parent / "rules"


@dataclass(frozen=True, slots=True)
class BenchRules:
    """A set of rules. `name` is also what a worker that decides by it is called in results."""

    name: str
    folder: str
    count: int
    copies: int = 1
    """How many times the set has each trigger of the folder."""

    @property
    def group(self) -> str:
        """The consumer group of the workers that decide by it."""
        return f"perf-{self.folder}-{self.count}"

    def read(self) -> Folder:
        """Its files."""
        folder = read_folder(FOLDER / self.folder)
        if self.copies == 1:
            return folder
        file = folder.rules[0]
        definitions = [part for part in _documents(file) if not part.startswith("trigger:")]
        triggers = [part for part in _documents(file) if part.startswith("trigger:")]
        copies = [part.replace("\n", f"-{n}\n", 1) for n in range(self.copies) for part in triggers]
        return replace(folder, rules=[SourceFile(file.path, "---\n".join([*definitions, *copies]))])


ONE = BenchRules("one rule", "one", 1)
TWENTY = BenchRules("twenty rules", "twenty", 20)
HUNDRED = BenchRules("a hundred rules", "twenty", 100, copies=5)
EVERY_EVENT = BenchRules("every event", "every-event", 1)
TWENTY_ALL_COUNT = BenchRules("twenty, all count", "twenty-all-count", 20)
GROWN = BenchRules("grown state", "twenty-all-count", 20)
"""The same rules, for users whose state has grown before the clock starts."""


def _documents(file: SourceFile) -> list[str]:
    lines = [line for line in file.text.splitlines(keepends=True) if not line.startswith("#")]
    return "".join(lines).split("---\n")

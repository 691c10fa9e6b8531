"""The sets of rules that are measured: one, twenty of mixed kinds, and a hundred, which are the twenty five times."""

from dataclasses import replace
from pathlib import Path

from cli.rules.rule_folder import Folder, read_folder
from triggers.language.diagnostics import SourceFile

FOLDER = Path(__file__).parent / "rules"
COUNTS = (1, 20, 100)


def rules(count: int) -> Folder:
    """A set of `count` triggers; raises KeyError for a count that there is none of."""
    folder = read_folder(FOLDER / {1: "one", 20: "twenty", 100: "twenty"}[count])
    if count < 100:
        return folder
    file = folder.rules[0]
    definitions = [part for part in _documents(file) if not part.startswith("trigger:")]
    triggers = [part for part in _documents(file) if part.startswith("trigger:")]
    again = [part.replace("\n", f"-{n}\n", 1) for n in range(count // 20) for part in triggers]
    return replace(folder, rules=[SourceFile(file.path, "---\n".join([*definitions, *again]))])


def _documents(file: SourceFile) -> list[str]:
    lines = [line for line in file.text.splitlines(keepends=True) if not line.startswith("#")]
    return "".join(lines).split("---\n")

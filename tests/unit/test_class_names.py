"""A class name has one meaning: it is defined once in the whole tree."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("cli", "infra", "perf", "schemas", "senders", "streams", "tests", "triggers", "web")
MODEL = ROOT / "tests/slow_model"
"""The independent model of the engine, which repeats the names of the concepts that it models."""


def defined_classes() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        if not file.is_relative_to(MODEL):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(f"{file.relative_to(ROOT)}:{node.lineno}")
    return found


def test_each_class_name_is_defined_once() -> None:
    found = defined_classes()

    assert len(found) > 500
    assert {name: places for name, places in found.items() if len(places) > 1} == {}

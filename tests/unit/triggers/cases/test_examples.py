"""The published examples: they load, and all their cases pass."""

from pathlib import Path

import pytest

from triggers.cases.case_runner import run_cases
from triggers.language.diagnostics import SourceFile
from triggers.loader import check, load_rules
from triggers.rules.ruleset import RuleSet

EXAMPLES = Path(__file__).parents[4] / "examples"
TEMPLATES = {name: name[0] * 32 for name in ("back-in-stock", "cart-reminder", "we-miss-you", "thank-you")}

SOURCES = [
    SourceFile(file.name, file.read_text(encoding="utf-8"))
    for file in sorted(set(EXAMPLES.glob("*.yaml")) - {EXAMPLES / "events.yaml"})
]


@pytest.fixture(scope="module")
def examples() -> RuleSet:
    return load_rules(SOURCES, TEMPLATES)


def test_they_load_without_a_warning(examples: RuleSet) -> None:
    assert sorted(examples.triggers) == ["back-in-stock", "cart-abandoned", "thank-you", "win-back"]
    assert list(examples.scores) == ["engagement"]
    assert list(examples.endpoints) == ["crm"]
    assert check(SOURCES, TEMPLATES) == []


def test_every_case_passes(examples: RuleSet) -> None:
    results = run_cases(examples)
    assert len(results) >= 20
    assert [(each.trigger, each.name, each.diff) for each in results if not each.passed] == []


def test_every_trigger_has_an_owner_a_description_and_cases(examples: RuleSet) -> None:
    for trigger in examples.declared.values():
        assert trigger.owner
        assert trigger.description
        assert len(trigger.cases) >= 3

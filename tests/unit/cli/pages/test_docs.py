"""docs/triggers.md: it is what its source and the language say, and all that it teaches is true."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.lookback import compare_command
from cli.main import app
from cli.manifests import apply_commands, plan_commands
from cli.pages.language_page import PAGE, SOURCE, StalePage, check_page, page, write_page
from cli.rules import rule_commands
from senders.content.template_names import required_names
from triggers.cases.case_runner import run_cases
from triggers.cel.conditions import compile_condition
from triggers.language import keys as language
from triggers.language.catalogue_document import read_catalogue
from triggers.language.diagnostics import CODES, Diagnostic, SourceFile
from triggers.loader import check, load_rules

COMMANDS = rule_commands.COMMANDS | apply_commands.COMMANDS | plan_commands.COMMANDS | compare_command.COMMANDS
ROOT = Path(__file__).parents[4]
TEXT = (ROOT / SOURCE).read_text(encoding="utf-8")
FENCE = re.compile(r"(?:<!-- not yet: ([\w-]+) -->\n)?```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
BASE = {"trigger": "t", "purpose": "marketing", "on": "ping", "send": "hello"}


@dataclass(frozen=True)
class Example:
    """One block of the page."""

    language: str
    text: str
    line: int
    not_yet: str | None

    @property
    def rules(self) -> SourceFile:
        """A whole file; a fragment is put into a small rule."""
        first = re.match(r"(\w+):", self.text)
        if first and first[1] in language.KINDS:
            return SourceFile(f"docs:{self.line}", self.text)
        keys = re.findall(r"^(\w+):", self.text, re.MULTILINE)
        base = "".join(f"{key}: {value}\n" for key, value in BASE.items() if key not in keys)
        return SourceFile(f"docs:{self.line}", base + self.text)

    def problems(self) -> list[Diagnostic]:
        """What check says of it, whatever templates it names."""
        found = check([self.rules], {})
        return check([self.rules], self.templates(found))

    @staticmethod
    def templates(found: list[Diagnostic]) -> dict[str, str]:
        """A hash for each template that was missing."""
        return {each.message.split("`")[1]: "0" * 32 for each in found if each.code == "unknown-template"}


EXAMPLES = [
    Example(match[2], match[3], TEXT.count("\n", 0, match.start()) + 1, match[1]) for match in FENCE.finditer(TEXT)
]
RULES = [each for each in EXAMPLES if each.language == "yaml"]


@pytest.mark.parametrize("example", RULES, ids=lambda each: f"line-{each.line}")
def test_every_example_loads_without_a_warning_and_its_cases_pass(example: Example) -> None:
    """One flagged as not yet running must not load: when it does, the flag goes."""
    problems = example.problems()
    if example.not_yet:
        assert problems, f"line {example.line} loads now: take its flag `not yet: {example.not_yet}` away"
        return
    assert [str(each) for each in problems] == []
    rules = load_rules([example.rules], Example.templates(check([example.rules], {})))
    assert [(each.name, each.diff) for each in run_cases(rules) if not each.passed] == []


def test_most_examples_carry_cases() -> None:
    assert len(RULES) >= 20
    assert sum("cases:" in each.text for each in RULES) >= 15


@pytest.mark.parametrize(
    "expression", [line for each in EXAMPLES if each.language == "cel" for line in each.text.splitlines()]
)
def test_every_expression_compiles(expression: str) -> None:
    compile_condition(expression, "value")


def test_the_template_and_the_catalogue_that_it_shows_are_right() -> None:
    [template] = [each for each in EXAMPLES if each.language == "liquid"]
    assert required_names("price-drop", template.text) == []
    [events] = [each for each in EXAMPLES if each.language == "events"]
    catalogue, reports = read_catalogue([SourceFile("events.yaml", events.text)])
    assert catalogue is not None
    assert set(catalogue.events) >= {"cart_updated", "order_completed", "signed_up"}
    assert [each for report in reports for each in report.diagnostics] == []


def test_the_misspelt_rule_brings_the_message_on_the_page() -> None:
    first = RULES[0]
    wrong = SourceFile("mine/price-drop.yaml", first.text.replace("purpose", "porpose"))
    result = next(each for each in check([wrong], {"price-drop": "h"}) if each.code == "unknown-key")
    assert result.render() in TEXT


def test_the_first_rule_checks_and_tests_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "price-drop.yaml").write_text(RULES[0].text)
    [template] = [each for each in EXAMPLES if each.language == "liquid"]
    (tmp_path / "templates" / "price-drop.liquid").write_text(template.text)
    for command in ("check", "test"):
        done = CliRunner().invoke(app, [command, str(tmp_path)])
        assert done.exit_code == 0
        assert f"`{done.output.splitlines()[-1]}`" in TEXT.replace("\n", " ")


def test_the_page_is_not_stale() -> None:
    check_page(ROOT)


def test_the_page_has_every_key_shape_and_code() -> None:
    written = page(TEXT)
    for kind in language.KINDS:
        for key in language.record(kind).keys:
            assert f"| `{key.name}` |" in written
    for name in language.SHAPES:
        anchor = name.lower().replace("_", "-")
        assert f'<a id="{anchor}">' in written or f"#### {name.replace('_', ' ')}\n" in written
    for code in CODES:
        assert f"| `{code}` |" in written
    assert "not yet:" not in written


def test_every_link_within_the_page_leads_somewhere() -> None:
    written = page(TEXT)
    headings = re.findall(r"^#+ (.*)$", written, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
    anchors |= set(re.findall(r'<a id="([\w-]+)">', written))
    assert set(re.findall(r"\]\(#([\w-]+)\)", written)) <= anchors


def test_every_command_that_it_names_is_there() -> None:
    grouped = {"backtest", "budgets", "eval", "explain", "pause", "rules", "run", "sink"}
    named = set(re.findall(r"ebbtide ([a-z][a-z-]*)", TEXT)) - grouped
    assert named <= set(COMMANDS)


def test_a_stale_page_is_an_error_and_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / PAGE).write_text("old")
    with pytest.raises(StalePage):
        check_page(tmp_path)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["docs", "--check"])
    assert (result.exit_code, result.stdout.split(" ")[0]) == (1, "docs/triggers.md")
    assert CliRunner().invoke(app, ["docs"]).exit_code == 0
    assert CliRunner().invoke(app, ["docs", "--check"]).exit_code == 0
    assert write_page(tmp_path).read_text() == page(TEXT)

"""Wrong rule files: one small file for each diagnostic code, with exactly what is said about it beside it."""

from pathlib import Path

import pytest

from triggers.diagnostics import CODES, WARNINGS, InvalidRules, SourceFile
from triggers.loader import check, load_rules

BAD_RULES = Path(__file__).parent / "bad_rules"
TEMPLATES = {"thank-you": "a" * 32}


def diagnose(code: str) -> list[SourceFile]:
    file = BAD_RULES / f"{code}.yaml"
    return [SourceFile(file.name, file.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("code", CODES)
def test_a_wrong_file_is_told_exactly_so(code: str) -> None:
    found = check(diagnose(code), TEMPLATES)
    told = "".join(diagnostic.render() + "\n" for diagnostic in found)
    assert told == (BAD_RULES / f"{code}.txt").read_text(encoding="utf-8")
    assert code in {diagnostic.code for diagnostic in found}


@pytest.mark.parametrize("code", sorted(set(CODES) - WARNINGS))
def test_a_wrong_file_does_not_load(code: str) -> None:
    with pytest.raises(InvalidRules):
        load_rules(diagnose(code), TEMPLATES)


@pytest.mark.parametrize("code", sorted(WARNINGS))
def test_a_doubtful_file_loads_with_its_warnings(code: str) -> None:
    assert [warning.code for warning in load_rules(diagnose(code), TEMPLATES).warnings] == [code]


def test_every_bad_file_belongs_to_a_code() -> None:
    assert {file.stem for file in BAD_RULES.iterdir()} == set(CODES)


def test_all_files_are_told_at_once_in_order_of_place() -> None:
    sources = [*diagnose("unknown-key"), *diagnose("invalid-zone")]
    with pytest.raises(InvalidRules) as caught:
        load_rules(sources, TEMPLATES)
    told = [(each.path, each.code) for each in caught.value.diagnostics]
    assert told == [
        ("invalid-zone.yaml", "duplicate-document"),
        ("invalid-zone.yaml", "invalid-zone"),
        ("unknown-key.yaml", "unknown-key"),
    ]


def test_a_diagnostic_reads_as_path_line_column_code_message() -> None:
    [found] = check(diagnose("unknown-key"), TEMPLATES)
    assert str(found) == "unknown-key.yaml:4:1: unknown-key `unles` is no key of trigger"

"""Programmes of several rules, as product teams write them: they load as one set, and their cases pass."""

from pathlib import Path

from triggers.cases.case_runner import run_cases
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_to_try

FILES = sorted((Path(__file__).parent / "programmes").glob("*.yaml"))


def test_every_programme_loads_and_its_cases_pass() -> None:
    results = run_cases(load_to_try([SourceFile(file.name, file.read_text()) for file in FILES], {}))
    assert {result.path for result in results} == {file.name for file in FILES}
    assert [(result.path, result.name, result.diff) for result in results if not result.passed] == []

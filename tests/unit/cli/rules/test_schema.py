"""The declared keys, and the JSON Schema that is written from it: held to the loader and to every rule file."""

import json
import re
from pathlib import Path

import pytest
from drivers.json_schema import accepts
from typer.testing import CliRunner

from cli.main import app
from cli.rules.new_rule import STARTERS
from cli.rules.rule_schema import HINT, rule_schema
from triggers.language import keys
from triggers.language.declarations import ChoiceShape, RecordShape, ScalarShape
from triggers.language.diagnostics import Report, SourceFile
from triggers.language.yaml_tree import documents, plain_value
from triggers.loader import check

TESTS = Path(__file__).parents[3]
EXAMPLES = sorted(file for file in (TESTS.parent / "examples").glob("*.yaml") if file.name != "events.yaml")
STARTED = sorted(STARTERS.glob("*/rule.yaml"))
BAD_RULES = TESTS / "unit" / "triggers" / "language" / "bad_rules"
WRONG_IN_SHAPE = (
    *("conflict", "invalid-duration", "invalid-name", "invalid-percent", "invalid-time", "invalid-window", "kind"),
    *("missing-key", "unknown-key", "wrong-type"),
)
SCHEMA = rule_schema()
NOT_YET: dict[str, set[str]] = {
    "GIVEN": {"all"},
}
"""Declared and not yet read by the loader; what is read goes from here."""


def values(file: Path) -> list[object]:
    return [plain_value(node) for node in documents(Report(SourceFile(file.name, file.read_text())))]


@pytest.mark.parametrize("file", [*EXAMPLES, *STARTED], ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_schema_accepts_every_example_and_starter(file: Path) -> None:
    assert [value for value in values(file) if not accepts(SCHEMA, value)] == []


@pytest.mark.parametrize("code", WRONG_IN_SHAPE)
def test_the_schema_rejects_files_that_are_wrong_in_shape(code: str) -> None:
    assert not all(accepts(SCHEMA, value) for value in values(BAD_RULES / f"{code}.yaml"))


@pytest.mark.parametrize("code", ["cel-name", "unknown-score", "unknown-template", "never-fires", "cap-unreachable"])
def test_a_file_that_only_check_can_reject_has_the_right_shape(code: str) -> None:
    assert all(accepts(SCHEMA, value) for value in values(BAD_RULES / f"{code}.yaml"))


def test_every_value_that_a_key_takes_is_declared_or_a_word() -> None:
    taken: list[str] = []
    for shape in [*keys.KINDS.values(), *keys.SHAPES.values()]:
        if isinstance(shape, ChoiceShape):
            taken.append(shape.takes)
        elif isinstance(shape, RecordShape):
            taken += [key.takes for key in shape.keys]
    named = {word for takes in taken for word in re.findall(r"\b[A-Z][A-Z_]+\b", takes)}
    assert named <= set(keys.SHAPES)
    assert set(keys.SHAPES) - named == {"SOURCE"} - named


def test_every_declared_key_and_shape_is_explained_in_a_sentence() -> None:
    for name, shape in [*keys.KINDS.items(), *keys.SHAPES.items()]:
        assert shape.sentence.endswith("."), name
        for key in shape.keys if isinstance(shape, RecordShape) else ():
            assert key.sentence.endswith("."), (name, key.name)


WHERE = {
    "trigger": "trigger: t\nzzz: 1\n",
    "score": "score: s\nzzz: 1\n",
    "policy": "policy: p\nzzz: 1\n",
    "metric": "metric: m\nzzz: 1\n",
    "segment": "segment: s\nzzz: 1\n",
    "brand": "brand: b\nzzz: 1\n",
    "DKIM": "brand: b\ndkim: {zzz: 1}\n",
    "BUDGET": "trigger: t\nbudget: {zzz: 1}\n",
    "ENTERS LEAVES": "trigger: t\non: {enters: s, zzz: 1}\n",
    "CAP": "trigger: t\ncap: {zzz: 1}\n",
    "DAILY DATES": "trigger: t\nquiet: {zzz: 1}\n",
    "EVENT": "trigger: t\nunless: {zzz: 1}\n",
    "SCORE_LEVEL": "trigger: t\non: {score: s, zzz: 1}\n",
    "LEVEL": "trigger: t\non: {event: e, reaches: 1, zzz: 1}\n",
    "SEQUENCE": "trigger: t\non: {sequence: [a, b], zzz: 1}\n",
    "SCHEDULE": "trigger: t\non: {every: day, zzz: 1}\n",
    "DATE": "trigger: t\non: {date: user.born, zzz: 1}\n",
    "UNTIL": "trigger: t\nsend: x\nafter: {until: user.ends, zzz: 1}\n",
    "EXPERIMENT": "trigger: t\nexperiment: {zzz: 1}\n",
    "GOAL": "trigger: t\ngoal: {zzz: 1}\n",
    "MESSAGE WEBHOOK": "trigger: t\nsend: {zzz: 1}\n",
    "WEBHOOK": "trigger: t\nsend: {webhook: e, zzz: 1}\n",
    "endpoint": "endpoint: e\nzzz: 1\n",
    "SECRET": "endpoint: e\nheaders: {X: {zzz: 1}}\n",
    "SEND_STEP WAIT_STEP WAIT_FOR_STEP IF_STEP": "trigger: t\nsteps: [{zzz: 1}]\n",
    "EXPONENTIAL LINEAR POWER": "score: s\ndecay: {zzz: 1}\n",
    "ADDITION": "score: s\nadd: {zzz: 1}\n",
    "FOR": "policy: p\nfor: {zzz: 1}\n",
    "CASE": "trigger: t\ncases: [{zzz: 1}]\n",
}
"""A document for each mapping of the keys, with a key that it does not have."""


@pytest.mark.parametrize("names", WHERE)
def test_the_loader_knows_the_declared_keys_and_no_others(names: str) -> None:
    found = [each for each in check([SourceFile("r.yaml", WHERE[names])], {}) if each.code == "unknown-key"]
    [known_keys] = [each.hint for each in found if "`zzz`" in each.message]
    known = set(known_keys.removeprefix("known here: ").split(", "))
    later = {key for name in names.split() for key in NOT_YET.get(name, set())}
    assert known == set(keys.names(*names.split())) - later


def test_every_form_that_is_shown_is_one_that_its_schema_accepts() -> None:
    for name, shape in keys.SHAPES.items():
        if isinstance(shape, ScalarShape) and "pattern" in shape.schema:
            for form in shape.form.split(", "):
                assert accepts(dict(shape.schema), form.strip('"')), (name, form)
            assert not accepts(dict(shape.schema), ""), name


def test_a_misspelt_trigger_is_not_taken_for_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["schema", "triger"])
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "did you mean `trigger`?" in done.output


@pytest.mark.parametrize("name", ["nope", "schemas"])
def test_a_folder_of_schemas_is_a_path_and_a_bare_word_writes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["schema", name])
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert f"./{name}" in done.output
    assert CliRunner().invoke(app, ["schema", f"./{name}"]).exit_code == 0
    assert list((tmp_path / name).glob("*.json"))


def test_the_command_writes_the_schema_to_standard_output_or_a_file(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["schema", "trigger"])
    assert printed.exit_code == 0
    assert json.loads(printed.stdout) == SCHEMA
    written = CliRunner().invoke(app, ["schema", "trigger", "--out", str(tmp_path / "deep" / "rules.json")])
    assert written.exit_code == 0
    assert json.loads((tmp_path / "deep" / "rules.json").read_text()) == SCHEMA
    assert f"# yaml-language-server: $schema={tmp_path}/deep/rules.json" in written.stdout.replace("\n", "")


def test_the_page_names_the_schema_in_a_rule_file_as_the_command_says() -> None:
    assert f"\n{HINT}rules.schema.json\n" in (TESTS.parent / "docs" / "triggers.md").read_text(encoding="utf-8")

"""Which files of a folder are read, and what `check` reports about the others."""

import os
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.rules.case_runs import run_paths
from cli.rules.checking import check_paths
from cli.rules.rule_files import NothingFound, find_files
from cli.rules.rule_folder import read_folder
from triggers.language.diagnostics import InvalidRules

RULE = "trigger: {0}\npurpose: onboarding\non: signed_up\nsend: welcome\n"
TEMPLATE = "---\nsubject: s\n---\n{0}\n--- text ---\nx\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, "rule.yaml", RULE.format("a"))
    write(tmp_path, "templates/welcome.liquid", TEMPLATE.format("a"))
    return tmp_path


def write(folder: Path, name: str, text: str = "") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def findings(folder: Path) -> list[tuple[str, str]]:
    """The code and file of each finding that is not a note."""
    found = [each for each in check_paths([folder]).found if each.severity != "note"]
    return [(each.code, str(Path(each.path).relative_to(folder))) for each in found]


@pytest.mark.parametrize(
    "name",
    [
        *("other.YAML", "other.yaml.txt", "other.yaml.bak", "other.yml.disabled", "other.txt", "other", "other.json"),
        *(".other.yaml", ".off/other.yaml"),
    ],
)
def test_a_rule_in_a_file_with_another_suffix_is_reported(folder: Path, name: str) -> None:
    write(folder, name, RULE.format("b"))
    assert findings(folder) == [("not-read", name)]


@pytest.mark.parametrize(
    "name", ["templates/other.html", "templates/other.liquid.html", "other.LIQUID", "templates/other.txt"]
)
def test_a_template_in_a_file_with_another_suffix_is_reported(folder: Path, name: str) -> None:
    write(folder, name, TEMPLATE.format("b"))
    assert findings(folder) == [("not-read", name)]


@pytest.mark.parametrize(
    "name",
    [
        *("README.md", "templates/README.txt", ".gitkeep", "LICENSE", "logo.png", "notes.txt", "log.jsonl"),
        *(".git/config", ".github/workflows/ci.yml", ".yamllint.yaml", "rule.yaml~", ".rule.yaml.swp", "Makefile"),
    ],
)
def test_files_that_are_not_rules_are_ignored_silently(folder: Path, name: str) -> None:
    write(folder, name, "name: ci\non: [push]\nthe trigger: it is told of below\n")
    assert findings(folder) == []


def test_a_manual_that_shows_a_rule_is_not_a_rule(folder: Path) -> None:
    write(folder, "README.md", RULE.format("b"))
    assert findings(folder) == []


def test_rules_in_nested_folders_and_of_either_suffix_are_read(folder: Path) -> None:
    write(folder, "team/more/other.yml", RULE.format("b"))
    write(folder, "events.yml", "events: {signed_up: {}}\n")
    read = read_folder(folder)
    assert ([Path(each.path).name for each in read.rules], len(read.catalogues)) == (["rule.yaml", "other.yml"], 1)
    assert findings(folder) == []


def test_a_link_to_a_folder_or_to_nothing_is_reported_and_a_link_to_a_file_is_read(folder: Path) -> None:
    elsewhere = folder.parent / f"{folder.name}-elsewhere"
    write(elsewhere, "linked.yaml", RULE.format("b"))
    (folder / "more").symlink_to(elsewhere)
    (folder / "lost.yaml").symlink_to(elsewhere / "nothing.yaml")
    assert findings(folder) == [("not-read", "lost.yaml"), ("not-read", "more")]
    (folder / "more").unlink()
    (folder / "lost.yaml").unlink()
    (folder / "linked.yaml").symlink_to(elsewhere / "linked.yaml")
    assert len(read_folder(folder).rules) == 2
    assert findings(folder) == []


@pytest.mark.parametrize("name", ["other.yaml", "events.yml", "templates/other.liquid", "other.YAML"])
def test_a_folder_with_the_name_of_a_file_is_reported_and_its_files_are_read(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    assert findings(folder) == [("not-read", name)]
    [found] = check_paths([folder]).found
    assert found.message == "this is not read: it is a folder with the name of a file; the files in it are read"
    write(folder, f"{name}/b.yaml", RULE.format("b"))
    assert len(read_folder(folder).rules) == 2


def test_a_link_with_the_name_of_a_file_to_a_folder_is_reported(folder: Path) -> None:
    (folder / "other.yaml").symlink_to(folder / "templates")
    assert findings(folder) == [("not-read", "other.yaml")]


@pytest.mark.parametrize("name", ["other.yaml", "events.yaml", "templates/other.liquid"])
def test_a_pipe_with_the_name_of_a_file_is_reported_and_not_waited_for(folder: Path, name: str) -> None:
    os.mkfifo(folder / name)
    assert findings(folder) == [("not-read", name)]
    assert [each.code for each in check_paths([folder / "rule.yaml"]).found] == []


def test_a_socket_with_the_name_of_a_rule_file_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # the path of a socket may have only 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("other.yaml")
        assert findings(folder) == [("not-read", "other.yaml")]


def test_a_file_that_is_found_in_two_ways_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "again.yaml").symlink_to("rule.yaml")
    assert len(find_files(Path(), Path("rule.yaml"), folder).files) == 2


def test_a_file_without_a_document_is_reported(folder: Path) -> None:
    write(folder, "later.yaml", "# all rules are in the other branch\n")
    assert findings(folder) == [("empty-file", "later.yaml")]


def test_a_template_that_no_rule_sends_is_reported_unless_it_only_lies_beside_a_named_file(folder: Path) -> None:
    write(folder, "templates/goodbye.liquid", TEMPLATE.format("b"))
    assert findings(folder) == [("unused-template", "templates/goodbye.liquid")]
    assert [each.code for each in check_paths([folder / "rule.yaml"]).found] == []


@pytest.mark.parametrize("name", ["shop-b/templates/welcome.liquid", "Welcome.liquid", "templates/de/welcome.liquid"])
def test_two_templates_of_one_name_are_a_problem_that_names_both_places(folder: Path, name: str) -> None:
    write(folder, name, TEMPLATE.format("b"))
    found = [each for each in check_paths([folder]).found if each.code == "duplicate-template"]
    assert len(found) == 1
    assert {found[0].path, found[0].other_path} == {
        str(folder / name),
        str(folder / "templates" / "welcome.liquid"),
    }
    assert check_paths([folder]).wrong
    assert check_paths([folder]).summary().startswith("1 rule file, 2 templates: 1 error, ")
    with pytest.raises(InvalidRules, match="duplicate-template"):
        read_folder(folder).load()
    with pytest.raises(InvalidRules, match="duplicate-template"):
        run_paths([folder])


def test_two_documents_of_one_name_in_two_files_are_a_problem_that_names_both_places(folder: Path) -> None:
    write(folder, "team/other.yaml", RULE.format("a"))
    [found] = [each for each in check_paths([folder]).found if each.code == "duplicate-document"]
    assert (found.path, found.line) == (str(folder / "team" / "other.yaml"), 1)
    assert found.message == f"duplicate trigger `a`: the other is at {folder / 'rule.yaml'}:1"


def test_an_event_that_two_catalogues_describe_differently_is_a_problem(folder: Path) -> None:
    first = write(folder, "events.yaml", "events:\n  signed_up: {plan: text}\n")
    write(folder, "team/events.yaml", "events:\n  signed_up: {plan: text}\n")
    assert findings(folder) == []
    write(folder, "team/events.yaml", "events:\n  signed_up: {plan: number}\n")
    [found] = check_paths([folder]).found
    assert (found.code, found.severity) == ("duplicate-event", "error")
    assert found.message == f"the event `signed_up` has other properties at {first}:2"


@pytest.mark.parametrize("name", ["rules.txt", "rules.json"])
def test_a_named_file_that_is_not_read_is_refused(folder: Path, name: str) -> None:
    write(folder, name, RULE.format("b"))
    with pytest.raises(NothingFound, match=f"{name}: neither a rule file nor a template; names of rule files end in"):
        read_folder(folder, folder / name)


def test_a_folder_without_rules_names_the_file_that_may_be_meant(tmp_path: Path) -> None:
    write(tmp_path, "rules.txt", RULE.format("b"))
    with pytest.raises(NothingFound, match=r"no rule files \(\*\.yaml\) in .*; .*rules\.txt is not read"):
        read_folder(tmp_path)


def test_test_says_which_files_it_did_not_read(folder: Path) -> None:
    write(folder, "other.yaml.bak", RULE.format("b"))
    done = CliRunner().invoke(app, ["test", str(folder)])
    assert f"{folder}/other.yaml.bak:1:1: warning: this is not read" in done.stdout


def test_a_backtest_says_which_files_it_did_not_read(folder: Path) -> None:
    write(folder, "other.yaml.bak", RULE.format("b"))
    log = write(folder, "log.jsonl", '{"id": "1", "type": "x", "user_id": "u", "time": "2026-01-01T00:00:00Z"}\n')
    done = CliRunner().invoke(app, ["backtest", str(folder), "--events", str(log)])
    assert (done.exit_code, "other.yaml.bak:1:1: warning: this is not read" in done.stderr) == (0, True)

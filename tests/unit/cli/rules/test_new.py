"""`ebbtide new`: every starter is a rule that holds together, under any name, and nothing is overwritten."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.rules.case_runs import run_paths
from cli.rules.checking import check_paths
from cli.rules.new_rule import STARTERS, StarterKind, write_rule


@pytest.mark.parametrize("like", StarterKind)
@pytest.mark.parametrize("name", ["left-cart", "r2_D2"])
def test_a_new_rule_passes_check_and_test_as_it_is(like: StarterKind, name: str, tmp_path: Path) -> None:
    write_rule(name, like, tmp_path)
    found = [str(each) for each in check_paths([tmp_path]).found if each.severity != "note"]
    assert found == []
    ran = run_paths([tmp_path]).cases
    assert len(ran) >= 3
    assert [(each.result.name, each.result.diff) for each in ran if not each.result.passed] == []


@pytest.mark.parametrize("like", StarterKind)
def test_two_rules_of_one_kind_stand_beside_each_other(like: StarterKind, tmp_path: Path) -> None:
    write_rule("one", like, tmp_path)
    write_rule("two", like, tmp_path)
    assert not check_paths([tmp_path]).wrong


def test_every_starter_is_offered_and_explains_itself() -> None:
    assert {each.name for each in STARTERS.iterdir()} == set(StarterKind)
    for like in StarterKind:
        assert (STARTERS / like / "rule.yaml").read_text().count("# ") >= 3


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "mine.liquid").write_text("mine")
    done = CliRunner().invoke(app, ["new", "mine", "--like", "receipt", "--in", str(tmp_path)])
    assert "templates/mine.liquid: already there" in str(done.exception)
    assert not (tmp_path / "mine.yaml").exists()
    assert (tmp_path / "templates" / "mine.liquid").read_text() == "mine"


def test_it_says_what_it_wrote_and_what_comes_next(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["new", "thanks", "--like", "receipt", "--in", str(tmp_path / "mine")])
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"wrote {tmp_path}/mine/templates/thanks.liquid",
        f"wrote {tmp_path}/mine/thanks.yaml",
        f"next: ebbtide check {tmp_path}/mine && ebbtide test {tmp_path}/mine -k thanks",
    ]


@pytest.mark.parametrize("name", ["", "../up", "a/b", "9lives", "a b", "a.b", "x" * 65])
def test_a_name_that_cannot_be_a_rule_and_a_file_writes_nothing(name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["new", "--like", "receipt", "--in", str(tmp_path), "--", name])
    assert "cannot name a rule" in str(done.exception)
    assert list(tmp_path.iterdir()) == []

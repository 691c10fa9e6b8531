"""A plan in a file: what it holds comes back, another running set makes it outdated, and other files are refused."""

from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from cli.manifests.history import RuleLog
from cli.manifests.preparation import SetRequest
from cli.manifests.saved_plan import (
    NotAPlan,
    PlanOutdated,
    SavedPlan,
    is_plan,
    read_plan,
    require_plan_name,
    saved_plan,
    write_plan,
)
from cli.rules.rule_folder import Folder
from schemas.rules import Manifest
from triggers.language.diagnostics import SourceFile

NOW = datetime(2026, 11, 29, tzinfo=UTC)
TEMPLATES = {name: SourceFile(f"templates/{name}.liquid", name) for name in ("hello", "kids/hello")}
FOLDER = Folder("mine", [SourceFile("a.yaml", "trigger: a\n")], TEMPLATES)


def running(number: int, by: str = "ada") -> RuleLog:
    return RuleLog(manifests=[Manifest(number=number, texts=[], applied_at=NOW, applied_by=by)])


def plan_for(log: RuleLog) -> SavedPlan:
    return saved_plan(log, FOLDER, SetRequest("shop", "default"), NOW, "ada")


def test_a_plan_comes_back_as_it_was_made(tmp_path: Path) -> None:
    made = plan_for(running(7))
    write_plan(tmp_path / "shop.plan", made)
    read = read_plan(tmp_path / "shop.plan")
    assert read == made
    assert (read.folder(), read.set, read.take_from) == (FOLDER, "shop", "default")
    assert [each.name for each in tmp_path.iterdir()] == ["shop.plan"]


def test_a_plan_is_written_through_no_link_of_somebody_else(tmp_path: Path) -> None:
    (victim := tmp_path / "victim").write_text("mine")
    for name in ("shop.plan", ".shop.plan.part"):
        (tmp_path / name).symlink_to(victim)
    write_plan(tmp_path / "shop.plan", made := plan_for(running(7)))
    assert victim.read_text() == "mine"
    assert read_plan(tmp_path / "shop.plan") == made


@pytest.mark.parametrize("log", [RuleLog(), running(7)])
def test_a_plan_is_current_while_the_same_manifest_is(log: RuleLog) -> None:
    plan_for(log).require_current(log)


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (running(8, "bob"), "manifest 8 of 2026-11-29 00:00:00 by bob is current; plan again"),
        (running(7, "bob"), "manifest 7 of 2026-11-29 00:00:00 by bob is current"),
        (RuleLog(), "none is there"),
    ],
)
def test_a_plan_is_outdated_once_another_manifest_is_current_also_of_its_number(now: RuleLog, says: str) -> None:
    with pytest.raises(PlanOutdated, match="made against manifest 7") as refused:
        plan_for(running(7)).require_current(now)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not a saved plan"),
        (b"trigger: a\n", "not a saved plan"),
        (b"[]", "not a saved plan"),
        (b"{}", "set: missing"),
        (orjson.dumps(plan_for(running(1)).model_dump(mode="json") | {"ebbtide_plan": 2}), "ebbtide_plan"),
        (orjson.dumps(plan_for(running(1)).model_dump(mode="json") | {"set": "a b"}), "set"),
        (orjson.dumps(plan_for(running(1)).model_dump(mode="json") | {"made_by": "a\0"}), "made_by"),
    ],
)
def test_a_file_that_is_no_plan_is_refused_with_what_to_do(tmp_path: Path, raw: bytes, why: str) -> None:
    (file := tmp_path / "a.plan").write_bytes(raw)
    with pytest.raises(NotAPlan, match="--out FILE") as refused:
        read_plan(file)
    assert why in str(refused.value)


def test_a_plan_has_a_name_that_apply_reads_as_one(tmp_path: Path) -> None:
    for name in ("a.yaml", "a.yml", "a.liquid"):
        with pytest.raises(NotAPlan, match=r"write it as a\.plan"):
            require_plan_name(Path(name))
    (tmp_path / "a.plan").touch()
    (tmp_path / "a.yaml").touch()
    assert is_plan([tmp_path / "a.plan"])
    assert not is_plan([tmp_path / "a.yaml"])
    assert not is_plan([tmp_path])
    assert not is_plan([tmp_path / "a.plan", tmp_path / "a.yaml"])

"""Time zones: only IANA's names, and their rules only from the pinned package, on every machine."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from drivers.trigger_world import World, at, shown
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import app
from cli.operations.publish import profile_of, profile_warnings
from schemas import zones
from schemas.events import Event
from schemas.profiles import Profile
from schemas.zones import nearest_zone, zone_hint, zone_named, zone_names
from streams.settings import StreamSettings
from triggers.cases.backtest import backtest
from triggers.cel.conditions import compile_condition
from triggers.cel.runtime import as_time
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import InvalidRules, SourceFile
from triggers.loader import load_rules

ROOT = Path(__file__).parents[3]
DAILY = 'trigger: t\npurpose: marketing\non: {every: day, at: "09:00", zone: %s}\nsend: a\n'


def loads(text: str) -> list[tuple[str, str]]:
    """What is wrong with a rule file: messages and hints."""
    try:
        load_rules([SourceFile("r.yaml", text)], {"a": "a" * 32})
    except InvalidRules as error:
        return [(each.message, each.hint) for each in error.diagnostics if each.severity == "error"]
    return []


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("America/Vancouver", "16:00"),
        ("America/Edmonton", "15:00"),
        ("Africa/Casablanca", "09:00"),
    ],
)
def test_a_zone_keeps_the_hours_of_the_pinned_release(zone: str, first: str) -> None:
    world = World(DAILY % zone, "2026-11-27 00:00")
    world.until("2026-11-27 23:59")
    assert [moment[11:16] for moment, _, _ in world.sent] == [first]


def test_the_machines_own_zone_files_change_nothing(tmp_path: Path) -> None:
    """A host whose Berlin is UTC, at the place where `ZoneInfo(name)` looks first."""
    wrong = tmp_path / "Europe" / "Berlin"
    wrong.parent.mkdir()
    wrong.write_bytes((Path(zones.resources.files("tzdata").joinpath("zoneinfo", "UTC"))).read_bytes())  # type: ignore[arg-type]
    program = (
        "import datetime, zoneinfo; from schemas.zones import zone_named; at = datetime.datetime(2026, 1, 1);"
        "print(at.astimezone(zoneinfo.ZoneInfo('Europe/Berlin')).utcoffset() is None, "
        "zone_named('Europe/Berlin').utcoffset(at), zoneinfo.ZoneInfo('Europe/Berlin').utcoffset(at))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONTZPATH": str(tmp_path)},
    )
    assert done.stdout.split() == ["False", "1:00:00", "0:00:00"]


def test_nothing_in_the_tree_makes_a_zone_by_the_machines_files() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for package in ("schemas", "triggers", "streams", "senders", "web", "infra", "perf", "tests/slow_model")
        for path in (ROOT / package).rglob("*.py")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"\bZoneInfo\((?!name\)` looks)|ZoneInfo\.no_cache|available_timezones|\btz\.gettz", line)
    ]
    assert found == []


def test_the_zone_data_is_pinned_exactly() -> None:
    wanted = f"tzdata=={version('tzdata')}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wanted in project["dependencies"]
    assert f"{wanted} \\" in (ROOT / "requirements.lock").read_text()


def test_the_release_has_a_number_that_names_it() -> None:
    assert zones.release_name(zones.RELEASE) == zones.VERSION
    assert zones.release_name(0) == ""
    assert re.fullmatch(r"\d{4}[a-z]", zones.VERSION)


@pytest.mark.parametrize(
    "name", ["US/Pacific", "Asia/Calcutta", "Asia/Kolkata", "UTC", "Etc/GMT-2", "CET", "Europe/Kyiv"]
)
def test_older_names_of_ianas_are_zones_too(name: str) -> None:
    zone = zone_named(name)
    assert zone is not None
    assert zone.key == name
    assert zone_named(name) is zone


@pytest.mark.parametrize(
    "name",
    [
        *("localtime", "posixrules", "Factory", "right/Europe/Berlin", "posix/Europe/Berlin", "europe/berlin", "utc"),
        *("", " ", "Europe", "Europe/", "Europe/Berlin ", "../UTC", "/etc/localtime", "tzdata.zi", "zone.tab", "GMT+2"),
        *("CEST", "Europe\x00Berlin", "Europe/Berlin/", "Europe//Berlin", "__init__.py"),
    ],
)
def test_a_name_that_iana_does_not_list_is_not_a_zone(name: str) -> None:
    assert zone_named(name) is None


@given(st.text(max_size=64))
def test_any_text_is_a_listed_name_or_no_zone_and_its_nearest_is_a_zone(name: str) -> None:
    assert (zone_named(name) is not None) == (name in zone_names())
    near = nearest_zone(name)
    assert near == "" or zone_named(near) is not None


def test_every_listed_name_loads() -> None:
    assert all(zone_named(name) is not None for name in zone_names())


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("EUROPE/BERLIN", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("Europe/Berlinn", "Europe/Berlin"),
        ("right/Europe/Berlin", "Europe/Berlin"),
        ("America/New York", "America/New_York"),
        ("Los Angeles", "America/Los_Angeles"),
        ("PST", "America/Los_Angeles"),
        ("CEST", "Europe/Berlin"),
        ("GMT+2", "Etc/GMT-2"),
        ("UTC+1", "Etc/GMT-1"),
        ("UTC-08:00", "Etc/GMT+8"),
        ("+05:30", "Asia/Kolkata"),
        ("utc", "UTC"),
        ("Pacific Standard Time", "America/Los_Angeles"),
        ("Kiritimati", "Pacific/Kiritimati"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_right_one(name: str, near: str) -> None:
    assert zone_named(name) is None
    assert nearest_zone(name) == near
    assert f"did you mean `{near}`?" in zone_hint(name)


def test_the_suggestion_for_an_offset_says_why_its_sign_is_turned() -> None:
    assert "turns the sign round" in zone_hint("GMT+2")
    assert zone_hint("localtime") == "an IANA name, such as Europe/Berlin"


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("localtime", "an IANA name, such as Europe/Berlin, or user"),
        ("right/Europe/Berlin", "did you mean `Europe/Berlin`?"),
        ("europe/berlin", "did you mean `Europe/Berlin`?"),
    ],
)
def test_an_unknown_zone_in_a_rule_is_a_problem_that_suggests_the_nearest_zone(zone: str, hint: str) -> None:
    assert loads(DAILY % zone) == [(f"unknown time zone `{zone}`", hint)]


CASE = """trigger: t
purpose: marketing
on: ping
send: a
cases:
  - name: c
    user: {zone: %s}
    given: [{at: "10:00", user: {zone: %s}}, {at: "10:00", ping: {}}]
    expect: [{at: "10:00", send: a}]
"""


def test_an_unknown_zone_in_a_case_is_a_problem_at_its_start_and_at_a_change() -> None:
    assert loads(CASE % ("Berlin", "PST")) == [
        ("unknown time zone `Berlin`", "did you mean `Europe/Berlin`?"),
        ("unknown time zone `PST`", "did you mean `America/Los_Angeles`?"),
    ]
    assert loads(CASE % ('""', "UTC")) == []


def test_a_zone_written_in_an_expression_is_a_problem_too() -> None:
    text = "trigger: t\npurpose: marketing\non: {event: ping, where: 'now.getHours(\"%s\") < 12'}\nsend: a\n"
    assert loads(text % "europe/berlin")[0][0].endswith("unknown time zone `europe/berlin`")
    assert loads(text % "99:00")[0][0].endswith("unknown time zone `99:00`")
    assert loads(text % "Europe/Berlin") == loads(text % "+05:30") == []


def test_a_profile_with_a_wrong_zone_is_taken_and_counted() -> None:
    world = World("trigger: t\npurpose: marketing\non: ping\nsend: a\n", zone=None)
    before = world.counts.get("unknown_zone", 0)
    world.profile(zone="europe/berlin")
    assert world.counts.get("unknown_zone", 0) == before + 1
    world.profile(zone="Europe/Berlin")
    world.profile(zone="")
    assert world.counts["unknown_zone"] == before + 1
    world.event("2026-01-05 10:00", "ping")
    assert len(world.sent) == 1


def test_the_error_of_a_profile_published_by_hand_with_a_wrong_zone_names_the_right_one() -> None:
    wrong = profile_of('{"user_id": "u1", "zone": "GMT+2"}', as_time(0))
    assert "did you mean `Etc/GMT-2`?" in profile_warnings(wrong)[0]
    assert profile_warnings(profile_of('{"user_id": "u1", "zone": "Europe/Berlin"}', as_time(0))) == []


def test_a_backtest_tells_of_the_zones_of_profiles_that_are_none() -> None:
    rules = load_rules([SourceFile("r.yaml", DAILY % "user")], {"a": "a" * 32})
    profiles = {name: Profile(user_id=name, zone="Berlin") for name in ("u1", "u2")}
    events = [Event(id="1", type="x", user_id="u1", time=as_time(0))]
    notes = backtest(rules, events, profiles).notes
    assert "2 users with zone `Berlin`, which is none, so UTC is taken; did you mean `Europe/Berlin`?" in notes


def test_a_wrong_default_zone_is_refused_with_the_nearest_right_one() -> None:
    with pytest.raises(ValueError, match="did you mean `Europe/Berlin`"):
        Evaluator(load_rules([], {}), "europe/berlin")
    with pytest.raises(ValueError, match="did you mean `Europe/Berlin`"):
        StreamSettings(default_zone="berlin")


def test_a_worker_refuses_a_wrong_default_zone_and_names_the_setting() -> None:
    program = str(Path(sys.executable).with_name("ebbtide"))
    variables = {**os.environ, "EBBTIDE_DEFAULT_ZONE": "berlin", "EBBTIDE_KAFKA": "127.0.0.1:1"}
    command = [program, "run", "streams", "--slot", "0"]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, timeout=60, check=False)
    error = "ebbtide: setting EBBTIDE_DEFAULT_ZONE: unknown time zone 'berlin'; did you mean `Europe/Berlin`?\n"
    assert (done.returncode, done.stderr) == (2, error)


def test_a_dates_parts_are_those_of_the_pinned_release() -> None:
    condition = compile_condition('timestamp("2026-11-27T16:00:00Z").getHours("America/Vancouver") == 9', "truth")
    assert condition.holds(None)  # type: ignore[arg-type]
    assert shown(at("2026-11-27 16:00")).startswith("2026-11-27")


def test_the_version_of_the_zone_data_is_shown() -> None:
    assert f"tzdata {zones.VERSION}" in CliRunner().invoke(app, ["--version"]).stdout.splitlines()
    assert json.loads(CliRunner().invoke(app, ["--version", "--json"]).stdout)["tzdata"] == zones.VERSION

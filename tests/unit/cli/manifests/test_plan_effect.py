"""The effect of a plan over a log: the running rules beside the planned ones, with caps, budgets and users."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from drivers.rule_logs import published_sets
from rich.console import Console

from cli.manifests.budget_forecast import budget_forecasts
from cli.manifests.effect_options import history_files
from cli.manifests.effect_text import markdown, show_effect
from cli.manifests.history import RuleLog
from cli.manifests.plan_effect import PastFiles, PlanEffect, RecordedSends, read_effect
from cli.manifests.plan_view import PlanView
from cli.manifests.publication import plan_folder
from cli.rules.rule_folder import Folder
from cli.step_printer import StepPrinter
from schemas.codec import encode
from schemas.events import Event
from schemas.profiles import Consent, Profile
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules

BEGAN = datetime(2026, 11, 2, 10, tzinfo=UTC)
POLICY = "policy: all\nfor: {}\ncap: {max: 1, per: 1d, scope: all}\n"
RULES = {
    "cart": "trigger: cart\npurpose: marketing\non: cart_updated\npriority: 60\nsend: hello\n",
    "news": "trigger: news\npurpose: marketing\non: cart_updated\nsend: hello\n",
    "welcome": "trigger: welcome\npurpose: marketing\non: signed_up\nsend: hello\n",
}


def folder(**rules: str) -> Folder:
    files = [SourceFile(f"{name}.yaml", text) for name, text in rules.items()]
    return Folder("mine", files, {"hello": SourceFile("templates/hello.liquid", "---\nsubject: s\n---\nx\n")})


@pytest.fixture
def past(tmp_path: Path) -> PastFiles:
    """Three users with a cart on each of two days, and one who signs up."""
    lines = [line("cart_updated", f"u{user}", day) for day in (0, 2) for user in range(3)]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join([*lines, line("signed_up", "u9", 1), b""]))
    return PastFiles(tmp_path / "log.jsonl")


def line(kind: str, user: str, day: int) -> bytes:
    return encode(Event(id=f"{kind}-{user}-{day}", type=kind, user_id=user, time=BEGAN + timedelta(days=day)))


def effect_of(past: PastFiles, old: Folder | None, new: Folder, *recorded: RecordedSends) -> PlanEffect:
    log = RuleLog() if old is None else published_sets(("default", old))
    printer = StepPrinter(Console(file=StringIO()))
    return read_effect(plan_folder(log, new), log, past, "UTC", printer, recorded)


def test_the_planned_rules_are_played_beside_the_running_ones(past: PastFiles) -> None:
    old = folder(all=POLICY, cart=RULES["cart"], welcome=RULES["welcome"])
    new = folder(all=POLICY, cart=RULES["cart"].replace("on:", "cap: {max: 1, per: 7d}\non:"), news=RULES["news"])
    found = effect_of(past, old, new).as_json()
    assert {each["trigger"]: (each["old"], each["new"]) for each in found["sends"]} == {
        "cart": (6, 3),
        "news": (0, 3),
        "welcome": (1, 0),
    }
    assert found["days"][0] == {"day": "2026-11-02", "trigger": "cart", "old": 3, "new": 3}
    assert found["users_reached"] == {"old": 4, "new": 3}
    assert found["users"] == {"more": 0, "fewer": 1, "other": 3, "same": 0}
    assert {"trigger": "cart", "outcome": "drop", "reason": "cap", "old": 0, "new": 3} in found["losses"]
    assert {"trigger": "news", "by": "cart", "old": 0, "new": 3} in found["cap_pressure"]
    assert {each["change"] for each in found["sample"]} == {"fewer", "other"}
    assert (found["events"], found["budgets"]) == (7, [])


def test_users_to_whom_nothing_happens_are_not_counted_with_the_mails_of_others(past: PastFiles) -> None:
    users = [f"u{number}" for number in (0, 1, 2, 9, 30, 31, 32)]
    consent = {"marketing": Consent(granted=True, time=BEGAN)}
    profiles = past.events.with_name("profiles.jsonl")
    profiles.write_bytes(b"".join(encode(Profile(user_id=user, consent=consent)) + b"\n" for user in users))
    found = effect_of(
        replace(past, profiles=profiles), folder(cart=RULES["cart"]), folder(news=RULES["welcome"])
    ).as_json()
    assert found["users"] == {"more": 1, "fewer": 3, "other": 0, "same": 0}
    assert found["users_reached"] == {"old": 3, "new": 1}


def test_nothing_runs_before_the_first_set(past: PastFiles) -> None:
    found = effect_of(past, None, folder(cart=RULES["cart"])).as_json()
    assert found["sends"] == [{"trigger": "cart", "old": 0, "new": 6}]


def test_people_see_sends_days_pressure_budgets_and_what_was_really_sent(past: PastFiles) -> None:
    old = folder(all=POLICY, cart=RULES["cart"])
    new = folder(all=POLICY + "budget: {max: 5, per: 3d}\n", cart=RULES["cart"], news=RULES["news"])
    out = StringIO()
    effect = effect_of(past, old, new, RecordedSends("cart", 7, 3))
    show_effect(Console(file=out, width=100), effect)
    shown = out.getvalue()
    assert "Effect over 7 events of 4 users, 2026-11-02 to 2026-11-04: the running rules (old) and" in shown
    assert [*map(str.split, shown.splitlines())].count(["0", "6", "news", "cart"]) == 1
    assert "budget policy/all, 5 per 3d: up to 6 sends in one window, more than it lets through" in shown
    assert "Really sent in that time" in shown
    assert effect.as_json()["budgets"][0]["exceeded"] is True


def test_the_comment_on_a_pull_request_has_the_effect(past: PastFiles) -> None:
    old, new = folder(cart=RULES["cart"]), folder(news=RULES["news"])
    log = published_sets(("default", old))
    effect = effect_of(past, old, new)
    lines = [*PlanView("set default", plan_folder(log, new), log, [], effect).markdown()]
    assert "#### Effect over 7 events of 4 users, 2026-11-02 to 2026-11-04" in lines
    assert "| `cart` | 6 | 0 | -6 |" in lines
    assert "| `news` | 0 | 6 | +6 |" in lines
    assert "3 → 3 users reached: 0 get more, 0 fewer, 3 others or at other times." in lines
    assert [*markdown(effect)] == lines[-len([*markdown(effect)]) :]


def test_unreadable_lines_are_counted(past: PastFiles) -> None:
    past.events.write_bytes(past.events.read_bytes() + b"no event\n")
    found = effect_of(past, None, folder(cart=RULES["cart"])).as_json()
    assert len(found["skipped"]) == 1


def forecasts(budget: str, daily: dict[tuple[str, int], int]) -> list[tuple[str, int, bool]]:
    rules = load_rules(
        [SourceFile("r.yaml", RULES["cart"] + budget), SourceFile("w.yaml", RULES["welcome"])], {"hello": "h"}
    )
    return [(each.name, each.most, each.is_exceeded) for each in budget_forecasts(rules.triggers.values(), daily)]


@pytest.mark.parametrize(
    ("per", "most"), [("1h", 5), ("1d", 5), ("2d", 7), ("25h", 7), ("calendar week", 10), ("calendar day", 5)]
)
def test_a_budget_is_held_against_the_most_in_as_many_days_as_its_window_touches(per: str, most: int) -> None:
    daily = {("cart", 1): 3, ("cart", 4): 5, ("cart", 5): 2, ("cart", 12): 1, ("welcome", 2): 100}
    assert forecasts(f"budget: {{max: 6, per: {per}}}\n", daily) == [("trigger/cart", most, most > 6)]


def test_a_trigger_without_a_budget_has_no_forecast() -> None:
    assert forecasts("", {("cart", 1): 3}) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"events": ["a.jsonl", "b.jsonl"]}, "at most one catalogue and one log"),
        ({"events": ["a.yaml", "b.yml"]}, "at most one catalogue and one log"),
        ({"events": ["a.jsonl"], "since": "30d"}, "either a log or --since"),
        ({"profiles": "p.jsonl"}, "give the log of events too"),
        ({"zone": "Nowhere"}, "unknown time zone"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(arguments: dict[str, Any], says: str) -> None:
    given = {"events": [], "since": None, "profiles": None, "outcomes": None, "zone": "UTC"} | arguments
    given["events"] = [Path(file) for file in given["events"]]
    with pytest.raises(typer.BadParameter, match=says):
        history_files(**given)


def test_a_file_in_yaml_is_the_catalogue_and_another_the_log() -> None:
    catalogue, past = history_files([Path("log.jsonl"), Path("events.yaml")], None, None, None, "UTC")
    assert (catalogue, past) == (Path("events.yaml"), PastFiles(Path("log.jsonl")))
    assert history_files([], None, None, None, "UTC") == (None, None)

"""`check` notes the bounds on memory that a rule can reach, with the number and a remedy."""

from pathlib import Path

import pytest

from cli.rules.checking import check_paths
from triggers.language.diagnostics import Diagnostic, SourceFile
from triggers.loader import inspect

ROOT = Path(__file__).parents[4]
TEMPLATES = {"a": "a" * 32}
BASE = "trigger: t\npurpose: marketing\n"
SEND = "send: a\n"


def notes(text: str) -> list[Diagnostic]:
    found = inspect([SourceFile("r.yaml", text)], TEMPLATES)
    assert [each for each in found.diagnostics if each.severity == "error"] == []
    return [each for each in found.notes if each.code == "memory-bound"]


def metric(within: str, more: str = "") -> str:
    return f"metric: m\nevent: x\nwithin: {within}\n{more}"


def reading(condition: str) -> str:
    return f"---\n{BASE}on: x\nwhen: {condition}\n{SEND}"


REACHED = {
    "a sequence over weeks": (
        f"{BASE}on: {{sequence: [x, y], within: 30d}}\n{SEND}",
        "`t`: 64 unused events of a sequence are kept for a user; with more in 4w2d (2.1 a day), "
        "the oldest no longer begins or ends the sequence",
    ),
    "a wait of weeks for each entry": (
        f"{BASE}on: x\nafter: 14d\n{SEND}",
        "`t`: 64 running occurrences are kept for a user; with more in 2w (4.6 a day), "
        "the oldest ends, and its send is dropped with `evicted`",
    ),
    "steps that take weeks on their longest way": (
        f"{BASE}on: x\nsteps:\n  - if: event.big\n    then: [{{wait: 10d}}]\n    else: [{{wait: 1d}}]\n  - wait: 4d\n"
        "  - send: a\n",
        "`t`: 64 running occurrences are kept for a user; with more in 2w (4.6 a day), "
        "the oldest ends, and its send is dropped with `evicted`",
    ),
    "a daily schedule that waits for months": (
        f"{BASE}on: {{every: day, at: '09:00'}}\nafter: 70d\n{SEND}",
        "`t`: 64 running occurrences are kept for a user; with more in 10w (0.91 a day), "
        "the oldest ends, and its send is dropped with `evicted`",
    ),
    "a key that never enters again": (
        f"{BASE}on: x\nkey: event.id\nreentry: never\n{SEND}",
        "`t`: 256 keys that `reentry` asks for are kept for a user; with more, "
        "the key that entered longest ago may enter again",
    ),
    "a key that enters again after months": (
        f"{BASE}on: x\nkey: event.id\nreentry: 90d\n{SEND}",
        "`t`: 256 keys that `reentry` asks for are kept for a user; with more in 12w6d (2.8 a day), "
        "the key that entered longest ago may enter again",
    ),
    "groups of a level over months": (
        f"{BASE}on: {{event: x, same: sku, within: 60d, reaches: 3}}\n{SEND}",
        "`t`: 256 groups of `same` are kept for a user; with more in 8w4d (4.3 a day), "
        "the group whose last event is the oldest starts again",
    ),
    "entries gathered over weeks": (
        f"{BASE}on: x\nkey: user.id\noverlap: gather\nafter: 30d\n{SEND}",
        "`t`: 100 entries of an occurrence are kept for a user; with more in 4w2d (3.3 a day), "
        "the oldest is no longer in `occurrence.events`",
    ),
    "a wait of weeks for an event": (
        f"{BASE}on: x\nsteps: [{{wait_for: y, up_to: 10d, else: [{{wait: 4d}}]}}, {{send: a}}]\n",
        "`t`: 64 running occurrences are kept for a user; with more in 2w (4.6 a day), "
        "the oldest ends, and its send is dropped with `evicted`",
    ),
    "an amount within most of a year": (
        f"{BASE}on: {{event: x, within: 320d, sum: event.total, reaches: 500}}\n{SEND}",
        "`t`: 1,000 single events are kept for a user; with more in 45w5d (3.1 a day), "
        "older ones leave the window together, late by at most 5d",
    ),
    "`unless` of one thing, for entries of last week": (
        f"{BASE}on: x\nkey: user.id\nunless: {{event: y, same: sku}}\nmax_age: 7d\n{SEND}",
        "`t`: 16 `unless` events with different values of `same` are kept for a user; with more in 1w (2.3 a day), "
        "an entry that comes late may begin although it was ended",
    ),
    "a goal for longer than the cap leaves room": (
        f"{BASE}on: x\ncap: {{max: 20, per: 1d}}\ngoal: {{event: y, within: 7d}}\n{SEND}",
        "`t`: 64 sends that wait for their goal are kept for a user; with more in 1w (9.1 a day), "
        "the oldest reaches no goal",
    ),
    "points for a season": (
        "score: s\ndecay: {curve: linear, lifetime: 90d}\nadd: {event: x, points: 1}\n" + reading("score.s > 3"),
        "`s`: 256 additions are kept for a user; with more in 12w6d (2.8 a day), "
        "the two oldest count as one of the newer's time",
    ),
    "points that never fade": (
        "score: s\ndecay: {curve: power, scale: 1d, exponent: 1}\nadd: {event: x, points: 1}\n"
        + reading("score.s > 3"),
        "`s`: 256 additions are kept for a user; with more, the two oldest count as one of the newer's time",
    ),
    "a metric over most of a year": (
        metric("320d") + reading("metric.m.count > 3"),
        "`m`: 1,000 single events are kept for a user; with more in 45w5d (3.1 a day), "
        "older ones leave the window together, late by at most 5d",
    ),
    "a count compared with more than is exact": (
        metric("8d") + reading("event.big == true && 2000 <= metric.m.count"),
        "`t`: `metric.m.count` is compared with 2,000; beyond 1,000 the oldest events leave the window together, "
        "late by at most 3h",
    ),
    "different values compared with more than are kept": (
        metric("ever", "distinct: event.sku\n") + reading("metric.m.distinct > 1500.5"),
        "`t`: `metric.m.distinct` is compared with 1,500.5, and is never more than 1,000",
    ),
}

NOT_REACHED = {
    "a sequence within a week": f"{BASE}on: {{sequence: [x, y], within: 7d}}\n{SEND}",
    "one occurrence for each user": f"{BASE}on: x\nkey: user.id\nafter: 300d\nreentry: never\n{SEND}",
    "a wait of a week": f"{BASE}on: x\nafter: 7d\n{SEND}",
    "the wait of only one of two branches": (
        f"{BASE}on: x\nsteps:\n  - if: event.big\n    then: [{{wait: 7d}}]\n    else: [{{wait: 8d}}]\n  - send: a\n"
    ),
    "a key that enters again after days": f"{BASE}on: x\nkey: event.id\nreentry: 3d\n{SEND}",
    "entries gathered for a day": f"{BASE}on: x\nkey: user.id\noverlap: gather\nafter: 1d\n{SEND}",
    "a birthday": f"{BASE}on: {{date: user.born, yearly: true, at: '09:00'}}\nafter: 300d\n{SEND}",
    "a count of a year that is exact up to its line": f"{BASE}on: {{event: x, within: 365d, reaches: 1000}}\n{SEND}",
    "an amount of a month": f"{BASE}on: {{event: x, within: calendar month, sum: event.a, reaches: 5}}\n{SEND}",
    "a metric without an end": metric("ever", "sum: event.a\n") + reading("metric.m.sum > 5000"),
    "a count without an end": metric("ever") + reading("metric.m.count > 5000"),
    "a sum of a month": metric("30d", "sum: event.a\n") + reading("metric.m.sum > 5000"),
    "different values up to the bound": metric("ever", "distinct: event.a\n") + reading("metric.m.distinct >= 1000"),
    "points that halve": "score: s\ndecay: {curve: exponential, half_life: 300d}\nadd: {event: x, points: 1}\n"
    + reading("score.s > 3"),
    "`unless` without `same`": f"{BASE}on: x\nkey: user.id\nunless: y\nmax_age: 7d\n{SEND}",
    "a goal that the cap keeps small": f"{BASE}on: x\ncap: {{max: 2, per: 1d}}\ngoal: {{event: y, within: 7d}}\n{SEND}",
}


@pytest.mark.parametrize("name", REACHED)
def test_a_bound_that_a_rule_can_reach_is_noted_with_what_happens_there(name: str) -> None:
    text, message = REACHED[name]
    [found] = notes(text)
    assert (found.severity, found.message) == ("note", message)
    assert found.hint.startswith(("write ", "compare with at most 1,000"))


@pytest.mark.parametrize("name", NOT_REACHED)
def test_a_bound_that_is_out_of_reach_is_not_noted(name: str) -> None:
    assert notes(NOT_REACHED[name]) == []


def test_a_note_points_at_what_reaches_the_bound() -> None:
    [found] = notes(f"{BASE}on: x\nkey: event.id\nreentry: never\n{SEND}")
    assert (found.line, found.column) == (5, 10)
    [compared] = notes(metric("8d") + reading("event.big == true && 2000 <= metric.m.count"))
    assert compared.excerpt.splitlines()[1].index("^") == compared.excerpt.splitlines()[0].index("count")


def test_a_comment_says_that_a_bound_is_known() -> None:
    assert notes(f"# ebbtide: allow memory-bound\n{BASE}on: x\nkey: event.id\nreentry: never\n{SEND}") == []


@pytest.mark.parametrize("folder", [ROOT / "examples", *(ROOT / "infra" / "starters").glob("*/")], ids=str)
def test_the_examples_and_starters_have_no_such_note(folder: Path) -> None:
    checked = check_paths([folder])
    assert checked.folder.rules
    assert not checked.wrong
    assert [each for each in checked.found if each.code == "memory-bound"] == []

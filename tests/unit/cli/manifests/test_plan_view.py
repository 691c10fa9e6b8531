"""A plan as text, and as a comment on a pull request in which no rule can write markup of its own."""

from datetime import UTC, datetime

from cli.manifests.changes import RuleChange
from cli.manifests.edits import KeyEdit
from cli.manifests.history import RuleLog
from cli.manifests.plan_view import MAX_EDITS, PlanView
from cli.manifests.publication import PublicationPlan
from cli.manifests.running import RunningOccurrences, TouchedOccurrences
from schemas.rules import Manifest

NOW = datetime(2026, 11, 29, tzinfo=UTC)
LOG = RuleLog(manifests=[Manifest(number=7, texts=[], applied_at=NOW, applied_by="ada")])


def view(*changes: RuleChange, touched: list[TouchedOccurrences] | None = None) -> PlanView:
    return PlanView("set shop", PublicationPlan(7, [], list(changes), {}), LOG, touched)


CHANGED = RuleChange(
    "changed",
    "trigger",
    "a",
    "shop",
    "after, cap",
    edits=(KeyEdit("after", "1h", "2h"), KeyEdit("cap", None, "{max: 1, per: 3d}"), KeyEdit("unless", "x", None)),
)
TOUCHED = TouchedOccurrences("a", "pin", RunningOccurrences(12, 10, ("u1", "u2")), ("after",), ("cap",))


def test_each_change_has_its_values_and_the_running_occurrences_below_it() -> None:
    assert [line for line, _ in view(CHANGED, touched=[TOUCHED]).lines()] == [
        "set shop, compared with manifest 7 of 2026-11-29 00:00:00 by ada:",
        "  ~ trigger  a                            after, cap",
        "      after: 1h → 2h",
        "      cap: + {max: 1, per: 3d}",
        "      unless: - x",
        "      12 running occurrences of 10 users: keep `after` as they began; take `cap` at once; look at u1, u2",
        "1 changed",
    ]


def test_a_long_change_is_cut_for_people_and_whole_for_programs() -> None:
    many = tuple(KeyEdit(f"line {number}", "a", "b") for number in range(MAX_EDITS + 5))
    shown = view(RuleChange("changed", "template", "t", "shop", edits=many))
    assert "      and 5 more; --json lists them" in [line for line, _ in shown.lines()]
    assert len(shown.as_json()["changes"][0]["edits"]) == MAX_EDITS + 5


def test_nobody_looked_is_not_the_same_as_nobody_is_touched() -> None:
    assert "running" not in view(CHANGED).as_json()
    assert view(CHANGED, touched=[]).as_json()["running"] == []


def test_markdown_shows_the_values_as_a_diff() -> None:
    assert [*view(CHANGED, touched=[TOUCHED]).markdown()] == [
        "### Ebbtide: set shop, 1 changed",
        "",
        "Compared with manifest 7 of 2026-11-29 00:00:00 by ada.",
        "",
        "**changed** trigger `a`: after, cap",
        "<br>12 running occurrences of 10 users: keep `after` as they began; take `cap` at once; "
        "look at ` u1 `, ` u2 `",
        "",
        "```diff",
        "- after: 1h",
        "+ after: 2h",
        "+ cap: {max: 1, per: 3d}",
        "- unless: x",
        "```",
    ]


def test_no_value_ends_the_block_of_the_diff() -> None:
    evil = RuleChange("changed", "trigger", "a", "shop", edits=(KeyEdit("description", "a", "```` <img> @team"),))
    lines = [*view(evil).markdown()]
    assert lines[-4:] == ["`````diff", "- description: a", "+ description: ```` <img> @team", "`````"]


def test_no_user_is_markup_a_link_or_a_mention() -> None:
    users = ("!https://evil.example/login", "@acme/everybody", "GH-12", "`", "<img>``@x")
    found = TouchedOccurrences("a", "pin", RunningOccurrences(5, 5, users), ("on_edit",))
    [line] = [each for each in view(CHANGED, touched=[found]).markdown() if each.startswith("<br>")]
    assert line == (
        "<br>5 running occurrences of 5 users: keep `on_edit` as they began; look at "
        "` !https://evil.example/login `, ` @acme/everybody `, ` GH-12 `, `` ` ``, ``` <img>``@x ```"
    )

"""What applying a folder changes: by names, by sets, and only what it says. On a log of rules in memory."""

from dataclasses import replace

import pytest
from drivers.rule_logs import PUBLISHED_AT, published, published_sets
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.manifests.changes import RuleChange, summary
from cli.manifests.edits import KeyEdit
from cli.manifests.history import NoSuchManifest, NoSuchSet, RuleLog
from cli.manifests.publication import PublicationPlan, plan_folder, plan_rollback
from cli.manifests.set_checks import check_among, may_be_valid
from cli.rules.checking import CheckResult
from cli.rules.rule_folder import Folder
from schemas.rules import Manifest, Text, text_hash
from triggers.language.diagnostics import InvalidRules, SourceFile
from triggers.loader import inspect
from triggers.outline import outline

NOW = PUBLISHED_AT
TEMPLATE = "---\nsubject: s\n---\n{0}\n--- text ---\nx\n"
SCORE = "score: keen\ndecay: {curve: linear, lifetime: 1d}\nadd: {event: ping, points: 1}\n"


def rule(name: str, more: str = "", send: str = "hello") -> str:
    return f"trigger: {name}\npurpose: marketing\non: ping\nsend: {send}\n{more}"


def folder(*texts: str, **templates: str) -> Folder:
    """A folder with each text as a file, and templates by their names; only `hello` by default."""
    rules = [SourceFile(f"r{number}.yaml", text) for number, text in enumerate(texts)]
    named = templates or {"hello": TEMPLATE.format("hello")}
    return Folder("mine", rules, {name: SourceFile(f"templates/{name}.liquid", text) for name, text in named.items()})


def changed(plan: PublicationPlan) -> list[tuple[str, str, str]]:
    return [(change.what, change.kind, change.name) for change in plan.changes]


def test_the_first_folder_adds_all_that_it_has() -> None:
    plan = plan_folder(RuleLog(), folder(rule("a", "mode: shadow\n") + "---\n" + SCORE))
    assert changed(plan) == [("added", "trigger", "a"), ("added", "score", "keen"), ("added", "template", "hello")]
    assert plan.changes[0].detail == "mode shadow"
    assert not plan.removes


def test_a_change_lists_its_keys_and_a_mode_with_its_old_value() -> None:
    log = published_sets(("default", folder(rule("a"), rule("b"))))
    plan = plan_folder(log, folder(rule("a", "mode: shadow\npriority: 60\n"), rule("b")))
    edits = KeyEdit("mode", "live", "shadow"), KeyEdit("priority", "50", "60")
    assert plan.changes == [
        RuleChange("changed", "trigger", "a", "default", "mode live → shadow, priority", edits=edits)
    ]
    assert not plan.removes


def test_what_says_the_same_in_other_words_is_no_change_and_is_published_all_the_same() -> None:
    log = published_sets(("default", folder(rule("a", "after: 60m\nwhen: event.x>1\n"))))
    plan = plan_folder(log, folder(rule("a", "after: 1h\nwhen: event.x > 1\nmode: live\npriority: 50\n")))
    assert (plan.changes, plan.same) == ([], False)


def test_a_changed_template_says_which_lines() -> None:
    log = published_sets(("default", folder(rule("a"), hello=TEMPLATE.format("hello"))))
    [change] = plan_folder(log, folder(rule("a"), hello=TEMPLATE.format("bye"))).changes
    assert (change.kind, change.edits) == ("template", (KeyEdit("line 4", "hello", "bye"),))


def test_removing_a_trigger_ends_its_occurrences_and_needs_confirmation() -> None:
    log = published_sets(("default", folder(rule("a"), rule("b"))))
    plan = plan_folder(log, folder(rule("a")))
    assert changed(plan) == [("removed", "trigger", "b")]
    assert plan.removes
    assert plan.changes[0].ends
    assert "withdrawn" in plan.changes[0].detail


def test_a_renamed_trigger_is_one_removed_and_one_added() -> None:
    plan = plan_folder(published_sets(("default", folder(rule("a")))), folder(rule("b")))
    assert changed(plan) == [("removed", "trigger", "a"), ("added", "trigger", "b")]
    assert plan.removes


def test_the_same_folder_at_another_path_changes_nothing() -> None:
    one = folder(rule("a"))
    log = published_sets(("default", one))
    moved = replace(one, rules=[SourceFile("/elsewhere/other.yaml", one.rules[0].text)])
    assert plan_folder(log, moved).same
    assert plan_folder(log, one).changes == []
    assert not plan_folder(RuleLog(), folder()).same


def test_a_comment_changes_no_document_and_is_published_all_the_same() -> None:
    plan = plan_folder(published_sets(("default", folder(rule("a")))), folder("# why\n" + rule("a")))
    assert (plan.changes, plan.same, summary(plan.changes)) == ([], False, "no document or template changes")


def test_one_set_never_touches_another() -> None:
    log = published_sets(
        ("shop", folder(rule("a"), rule("b"))), ("news", folder(rule("c", send="news"), news=TEMPLATE))
    )
    plan = plan_folder(log, folder(rule("d", send="news"), news=TEMPLATE), "news")
    assert changed(plan) == [("removed", "trigger", "c"), ("added", "trigger", "d")]
    assert {(file.set, file.path) for file in plan.files if file.set == "shop"} == {
        ("shop", "r0.yaml"),
        ("shop", "r1.yaml"),
        ("shop", "templates/hello.liquid"),
    }
    assert sorted(plan.load().triggers) == ["a", "b", "d"]


def test_an_older_manifest_is_the_set_default() -> None:
    texts = [Text(kind="rule", path="r.yaml", body=rule("a")), Text(kind="template", path="t/hello.liquid", body="x")]
    by_hash = {text_hash(text.body): text for text in texts}
    old = Manifest(number=4, texts=[*by_hash], applied_at=NOW, applied_by="bob")
    log = RuleLog(by_hash, [old])
    assert {(file.set, file.since, file.by) for file in log.files()} == {("default", 4, "bob")}
    assert changed(plan_folder(log, folder(rule("b"), hello="x"))) == [
        ("removed", "trigger", "a"),
        ("added", "trigger", "b"),
    ]
    assert changed(plan_folder(log, folder(rule("b", send="news"), news="n"), "news")) == [
        ("added", "trigger", "b"),
        ("added", "template", "news"),
    ]


def test_an_unchanged_file_keeps_the_number_of_its_manifest() -> None:
    log = published_sets(
        ("default", folder(rule("a"), rule("b"))), ("default", folder(rule("a"), rule("b", "priority: 1\n")))
    )
    assert {file.path: file.since for file in log.files()} == {
        "r0.yaml": 1,
        "r1.yaml": 2,
        "templates/hello.liquid": 1,
    }


def test_two_templates_with_one_text_are_two() -> None:
    log = published_sets(("default", folder(rule("a", send="x"), rule("b", send="y"), x="same", y="same")))
    assert sorted(step.template for each in plan_rollback(log, 1).load().triggers.values() for step in each.steps) == [
        "x",
        "y",
    ]


def test_a_set_takes_from_another_the_files_that_it_has_whole() -> None:
    log = published_sets(("default", folder(rule("a"), rule("b") + "---\n" + rule("c"))))
    plan = plan_folder(log, folder(rule("a"), hello=TEMPLATE.format("hello")), "shop", "default")
    assert changed(plan) == [("moved", "trigger", "a"), ("moved", "template", "hello")]
    assert not plan.removes
    assert sorted(plan.load().triggers) == ["a", "b", "c"]
    with pytest.raises(InvalidRules, match="duplicate trigger `b`"):
        plan_folder(log, folder(rule("a"), rule("b")), "shop", "default").load()


def test_going_back_is_an_earlier_manifest_under_a_new_number() -> None:
    log = published_sets(("default", folder(rule("a"))), ("default", folder(rule("b"))))
    plan = plan_rollback(log, 1)
    assert changed(plan) == [("added", "trigger", "a"), ("removed", "trigger", "b")]
    assert (plan.restores, plan.number) == (1, 2)
    back = published(log, plan)
    assert plan_folder(back, folder(rule("a"))).same
    assert plan_rollback(back, 3).same


def test_a_rollback_can_restore_only_one_set() -> None:
    log = published_sets(
        ("shop", folder(rule("a"))), ("news", folder(rule("n", send="news"), news="n")), ("shop", folder(rule("b")))
    )
    assert changed(plan_rollback(log, 1, "shop")) == [("added", "trigger", "a"), ("removed", "trigger", "b")]
    assert ("removed", "trigger", "n") in changed(plan_rollback(log, 1))


def test_an_unknown_manifest_or_set_is_an_error_that_lists_the_known_ones() -> None:
    log = published_sets(("shop", folder(rule("a"))), ("shop", folder(rule("b"))))
    with pytest.raises(NoSuchManifest, match="manifest 9 is not kept; kept: 1, 2"):
        plan_rollback(log, 9)
    log.texts.pop(text_hash(rule("a")))
    with pytest.raises(NoSuchManifest, match="manifest 1 is incomplete: 1 text no longer kept"):
        plan_rollback(log, 1)
    with pytest.raises(NoSuchSet, match="no set 'shp'; did you mean `shop`"):
        log.require_set("shp", log.files(log.current))


def alone(each: Folder) -> CheckResult:
    found = inspect(each.rules, each.template_hashes())
    return CheckResult(each, [*found.diagnostics, *found.notes], found.costs, [])


def among(log: RuleLog, each: Folder, name: str) -> CheckResult:
    plan = plan_folder(log, each, name)
    return check_among(alone(each), log, [file for file in plan.files if file.set != name])


def test_a_set_may_read_what_another_one_defines() -> None:
    log = published_sets(("platform", folder(SCORE, other=TEMPLATE)))
    mine = folder(rule("a", "when: score.keen > 1\n"))
    assert may_be_valid(alone(mine))
    assert not among(log, mine, "shop").wrong
    assert not may_be_valid(alone(folder(rule("a", "whn: 1 > 0\n"))))


def test_a_set_that_removes_what_another_one_reads_is_a_problem_that_names_it() -> None:
    log = published_sets(
        ("platform", folder(SCORE, other=TEMPLATE)), ("shop", folder(rule("a", "when: score.keen > 1\n")))
    )
    checked = among(log, folder(SCORE.replace("keen", "calm"), other=TEMPLATE), "platform")
    [problem] = [each for each in checked.found if each.severity == "error"]
    assert str(problem).startswith("set shop: r0.yaml:5:7: error: unknown score `keen` [unknown-score]")


@pytest.mark.parametrize("template", ["hello", "Hello"])
def test_a_name_of_another_set_is_a_problem_that_names_the_set_and_how_to_take_it(template: str) -> None:
    log = published_sets(("news", folder(rule("a"))))
    mine = folder(rule("a", send=template), **{template: TEMPLATE.format("mine")})
    found = {each.code: each for each in among(log, mine, "shop").found if each.severity == "error"}
    assert found.keys() == {"duplicate-document", "duplicate-template"}
    assert found["duplicate-document"].message == "duplicate trigger `a`: the other is at set news: r0.yaml:1"
    assert found["duplicate-template"].message.endswith("at set news: templates/hello.liquid")
    assert all(each.hint.endswith("--take-from news") for each in found.values())


def test_warnings_about_other_sets_are_not_reported() -> None:
    log = published_sets(("news", folder(rule("a", "after: 1h\nunless: never_named\n"))))
    checked = among(log, folder(rule("b", send="mine"), mine="m"), "shop")
    assert [each for each in checked.found if each.path.startswith("set ")] == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), st.sets(st.integers(0, 4), min_size=1)), max_size=5), st.data())
def test_a_plan_leaves_other_sets_unchanged_and_a_rollback_restores_any_manifest(
    history: list[tuple[str, set[int]]], data: st.DataObject
) -> None:
    def of(name: str, numbers: set[int]) -> Folder:
        return folder(*(rule(f"{name}{n}", send=name) for n in sorted(numbers)), **{name: f"template of {name}"})

    log = published_sets(*((name, of(name, numbers)) for name, numbers in history))
    name, numbers = data.draw(st.sampled_from(["x", "y"])), data.draw(st.sets(st.integers(0, 4), min_size=1))
    plan = plan_folder(log, of(name, numbers), name)
    others = {file.text for file in log.files() if file.set != name}
    assert {file.text for file in plan.files if file.set != name} == others
    assert {t for t in plan.load().triggers if t[0] == name} == {f"{name}{n}" for n in numbers}
    if log.manifests:
        back = plan_rollback(published(log, plan), log.number)
        assert sorted(file.text for file in back.files) == sorted(file.text for file in log.files())


def test_an_outline_has_each_document_with_its_line_and_its_own_text() -> None:
    text = f"# first\n{rule('a')}# of the next\n---\n# why\n{SCORE}"
    found = outline(SourceFile("r.yaml", text))
    assert [(each.kind, each.name, each.line) for each in found] == [("trigger", "a", 2), ("score", "keen", 9)]
    assert found[1].text == SCORE
    assert found[0].text.startswith(rule("a"))
    assert (
        found[0].digest == outline(SourceFile("r.yaml", rule("a").replace("on: ping", "on:   ping # soon")))[0].digest
    )


@pytest.mark.parametrize("text", ["", "# later\n", "---\n", "hello\n", "[1, 2]\n", "trigger: [a\n", "porpose: x\n"])
def test_an_outline_of_a_text_that_is_not_a_rule_is_empty(text: str) -> None:
    assert outline(SourceFile("r.yaml", text)) == []


BRAND = "brand: shop\nfrom: mail@shop.example\ntemplates: shop\n---\n"


def test_a_template_of_a_brands_folder_is_another_than_one_of_the_same_name() -> None:
    branded = BRAND + rule("a", "brand: shop\n") + "---\n" + rule("b")
    own = {"hello": TEMPLATE.format("all"), "shop/hello": TEMPLATE.format("shop")}
    plan = plan_folder(RuleLog(), folder(branded, **own))
    assert [(f.name, f.folder) for f in plan.files if f.kind == "template"] == [("hello", ""), ("shop/hello", "shop")]
    loaded = plan.load()
    assert {n: [s.template for s in t.steps] for n, t in loaded.declared.items()} == {
        "a": ["shop/hello"],
        "b": ["hello"],
    }
    assert list(loaded.brands) == ["shop"]
    again = plan_folder(published(RuleLog(), plan), folder(branded, **own))
    assert again.same


def test_a_brand_may_be_in_another_set() -> None:
    log = published_sets(("brands", folder(BRAND + rule("a", "brand: shop\n"))))
    plan = plan_folder(log, folder(rule("c", "brand: shop\n", send="news"), news=TEMPLATE), "news")
    assert plan.load().declared["c"].brand == "shop"

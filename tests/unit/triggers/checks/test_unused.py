"""Parts of a set without effect: policies, definitions, purposes and events that a misspelt name makes useless."""

import pytest

from triggers.checks.misspelling import misspelling_of
from triggers.language.diagnostics import Diagnostic, SourceFile
from triggers.loader import inspect

TEMPLATES = {"hello": "a" * 32}
SCORE = "score: keen\ndecay: {curve: linear, lifetime: 1d}\nadd: {event: ping, points: 1}\n"


def rule(name: str, purpose: str = "marketing", more: str = "", on: str = "ping") -> str:
    return f"trigger: {name}\npurpose: {purpose}\non: {on}\nsend: hello\n{more}"


def found(*documents: str) -> list[Diagnostic]:
    """The findings for the documents in one file, without those about the order of arrival."""
    findings = inspect([SourceFile("r.yaml", "---\n".join(documents))], TEMPLATES)
    return [each for each in (*findings.diagnostics, *findings.notes) if each.code != "order-sensitive"]


def codes(*documents: str) -> list[str]:
    return [each.code for each in found(*documents)]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("order_complted", "order_completed"),
        ("marketting", "marketing"),
        ("transactonal", "transactional"),
        ("orderCompleted", "order_completed"),
        ("cart_udpated", "cart_updated"),
        ("promotion", "promotions"),
    ],
)
def test_a_slip_is_taken_for_the_name_that_is_meant(name: str, other: str) -> None:
    assert misspelling_of(name, {other, "something_else"}) == other


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("remarketing", "marketing"),
        ("newsletter_en", "newsletter_es"),
        ("shop-a/marketing", "shop-b/marketing"),
        ("step_1", "step_2"),
        ("unsubscribed", "subscribed"),
        ("order_paid", "order_placed"),
        ("cart_updated.v2", "cart_updated"),
    ],
)
def test_similar_names_that_people_choose_are_not_reported_as_misspellings(name: str, other: str) -> None:
    assert misspelling_of(name, {other}) == ""
    assert misspelling_of(other, {name}) == ""


def test_a_policy_whose_purpose_no_trigger_has_is_reported_with_the_nearest_purpose() -> None:
    policy = "policy: calm\nfor: {purpose: marketting}\nexpires: 1h\n"
    [finding] = found(rule("a"), policy)
    assert (finding.code, finding.severity, finding.line, finding.hint) == (
        "unused-policy",
        "warning",
        7,
        "did you mean `marketing`?",
    )


def test_a_policy_for_everybody_is_reported_if_all_triggers_are_transactional() -> None:
    policy = "policy: calm\nfor: {}\nexpires: 1h\n"
    [finding] = found(rule("a", "transactional"), policy)
    assert (finding.code, "for: {purpose: transactional}" in finding.hint) == ("unused-policy", True)
    assert codes(rule("a"), policy) == []


def test_a_set_with_only_definitions_serves_rules_elsewhere_and_is_not_reported() -> None:
    assert (
        codes("policy: calm\nfor: {purpose: other}\nexpires: 1h\n", SCORE, "segment: vips\nwhen: user.vip == true\n")
        == []
    )


def test_a_definition_that_only_another_definition_reads_is_read() -> None:
    segment = "segment: lively\nwhen: score.keen >= 3\n"
    assert codes(rule("a", more="when: segment.lively\n"), SCORE, segment) == []
    assert codes(rule("a", on="{leaves: lively}"), SCORE, segment) == []
    assert codes(rule("a"), SCORE, segment) == ["unused-definition"]


def test_the_later_of_two_purposes_with_similar_names_is_reported() -> None:
    [finding] = found(rule("a", "promotions"), rule("b", "promotion"))
    assert (finding.code, finding.line) == ("misspelt-purpose", 7)
    assert codes(rule("a", "promotions"), rule("b", "promotion"), rule("c", "promotion")) == ["misspelt-purpose"]


def test_a_policy_that_names_a_purpose_says_that_it_is_meant() -> None:
    policy = "policy: calm\nfor: {purpose: promotion}\nexpires: 1h\n"
    assert codes(rule("a", "promotions"), rule("b", "promotions"), rule("c", "promotion"), policy) == []


def test_a_purpose_that_no_other_trigger_has_is_noted_among_several() -> None:
    others = rule("a"), rule("b")
    [finding] = found(*others, rule("c", "onboarding"))
    assert (finding.code, finding.severity, finding.line) == ("lone-purpose", "note", 12)
    policy = "policy: calm\nfor: {purpose: onboarding}\nexpires: 1h\n"
    assert codes(*others, rule("c", "onboarding"), policy) == []
    assert codes(*others, rule("c", "transactional")) == []
    assert codes(rule("a"), rule("c", "onboarding")) == []


CASE = 'cases: [{{name: n, given: [{{at: "10:00", {0}: {{}}}}], expect: []}}]\n'


def test_an_unless_event_that_no_case_gives_and_nothing_else_names_is_reported() -> None:
    [finding] = found(rule("a", more="after: 1h\nunless: activated\n"))
    assert (finding.code, finding.severity, finding.line) == ("event-never-given", "warning", 6)
    assert codes(rule("a", more="after: 1h\nunless: activated\n" + CASE.format("activated"))) == []
    assert codes(rule("a", more="after: 1h\nunless: activated\n"), rule("b", on="activated")) == []
    assert codes(rule("a", more="after: 1h\nunless: email.clicked\n")) == []


def test_an_event_with_a_name_similar_to_one_that_a_case_gives_is_reported_in_every_listening_key() -> None:
    case = CASE.format("order_completed")
    sure = rule("a", on="order_completed", more=case)
    for more in ("goal: {event: order_complted, within: 1d}\n", "after: 1h\nunless: order_complted\n"):
        [finding] = found(sure, rule("b", more=more))
        assert (finding.code, finding.hint.split(",")[0]) == ("event-never-given", "did you mean `order_completed`")
    score = SCORE.replace("ping", "order_complted")
    assert codes(sure, rule("b", more="when: score.keen > 1\n"), score) == ["event-never-given"]


def test_with_a_catalogue_that_has_the_event_nothing_is_reported() -> None:
    catalogue = SourceFile("events.yaml", "events: {ping: {}, activated: {}}\n")
    text = rule("a", more="after: 1h\nunless: activated\n")
    assert inspect([SourceFile("r.yaml", text)], TEMPLATES, [catalogue]).diagnostics == []

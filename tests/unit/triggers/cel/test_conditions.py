"""Conditions: their values, their problems, and that they read only the documented names."""

from typing import Any

import pytest

from triggers.cel.conditions import Condition, Context, compile_condition, part_over
from triggers.cel.runtime import EvaluationError
from triggers.cel.tree import SyntaxProblem
from triggers.cel.writer import Scope
from triggers.rules.events import StoredEvent
from triggers.rules.interest import texts_compared
from triggers.rules.state import Occurrence, User

EVENT = StoredEvent(
    "e1",
    "cart_updated",
    1_700_000_000_000,
    "shop",
    {
        "total": 50,
        "price": 12.5,
        "items": ["tea", "pot"],
        "ids": [1, 2, 3],
        "name": "Blue Train",
        "gift": True,
        "nothing": None,
        "shop": {"city": "Hamburg"},
        "id": "the shop's own",
        "when": "2026-05-01T10:00:00Z",
    },
)
USER = User("u1", "Europe/Berlin", None, {"plan": "team", "vip": False, "tags": ["a", "b"]})
OCCURRENCE = Occurrence("t", "h", "[1]", "c1", '"c1"', "e1", EVENT, 1_700_000_000_000, "plain", 0, 0, 0)


def context(scores: dict[str, float] | None = None) -> Context:
    return Context(EVENT, USER, OCCURRENCE, lambda name: (scores or {}).get(name, 0.0), 1_700_000_000_000 + 3_600_000)


def value(text: str, **scores: float) -> Any:
    return compile_condition(text, "value").value(context(scores))


def holds(text: str, **scores: float) -> bool:
    return compile_condition(text, "truth").holds(context(scores))


@pytest.mark.parametrize(
    "text",
    [
        "event.total >= 20 && size(event.items) > 0",
        "event.total == 50",
        "event.total == 50.0",
        "50 == event.total",
        "event.total != 51",
        "event.price * 2 == 25",
        "event.total / 100 == 0.5",
        "1 / 2 == 0",
        "7 % 3 == 1",
        "-7 / 2 == -3",
        "-7 % 3 == -1",
        "event.name == 'Blue Train'",
        'event.name == "Blue Train"',
        "event.name.contains('Train') && event.name.startsWith('Blue') && event.name.endsWith('n')",
        "event.name.size() == 10",
        "'tea' in event.items",
        "2 in event.ids",
        "!('cup' in event.items)",
        "event.name in ['Blue Train', 'Giant Steps']",
        "'city' in event.shop",
        "event.shop.city == 'Hamburg'",
        "event.shop['city'] == 'Hamburg'",
        "event.items[0] == 'tea'",
        "event.gift",
        "event.gift == true",
        "event.gift != 1",
        "event.nothing == null",
        "event.name != null",
        "has(event.total) && !has(event.colour) && has(event.shop.city) && !has(event.shop.street)",
        "has(user.plan) && has(user.zone) && !has(user.locale)",
        "user.id == 'u1' && user.zone == 'Europe/Berlin' && user.plan == 'team'",
        "!user.vip",
        "score.engagement >= 0.5",
        "score.engagement == 1",
        "event.id == 'e1' && event.properties.id == \"the shop's own\"",
        "event.type == 'cart_updated' && event.source == 'shop'",
        "now - event.time == hours(1)",
        "now > event.time + hours(0.5) && now < event.time + days(1)",
        "timestamp(event.when) > now",
        "occurrence.key == 'c1' && occurrence.variant == 'plain' && occurrence.event.total == 50",
        "occurrence.entered_at == event.time",
        "size(occurrence.events) == 1 && occurrence.events[0].total == 50",
        "occurrence.events.all(each, each.id == event.id && each.time == event.time)",
        "!has(occurrence.matched) && !has(occurrence.matched.total)",
        "event.total > 40 ? event.gift : false",
        "event.total > 90 ? false : event.total > 40 ? true : false",
        "int(event.total) % 2 == 0",
        "double('2.5') == 2.5 && string(event.total) == '50' && string(2.5) == '2.5'",
        "event.items + ['cup'] == ['tea', 'pot', 'cup']",
        "event.name + '!' == 'Blue Train!'",
        "'a' < 'b' && 'b' >= 'a'",
        "event.total / 0 > 1e300",
        "'\\u00e9' == 'é' && 'it\\'s' == \"it's\"",
        "true || event.missing > 1 // a comment",
    ],
)
def test_is_true(text: str) -> None:
    assert holds(text, engagement=1.0) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.missing > 1 || event.total == 50", True),
        ("event.total == 50 || event.missing > 1", True),
        ("event.missing > 1 && event.total == 51", False),
        ("event.total == 51 && event.missing > 1", False),
        ("event.missing > 1 && (event.total == 51 && event.gift)", False),
        ("event.missing > 1 || event.other > 1 || event.gift", True),
        ("(event.missing > 1 || event.gift) && true", True),
    ],
)
def test_an_error_waits_for_an_operand_that_settles_it(text: str, expected: bool) -> None:
    """CEL's && and || are commutative: false && error is false, true || error is true, in either order."""
    assert holds(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        "event.missing > 1",
        "event.missing > 1 || event.total == 51",
        "event.missing > 1 && event.gift",
        "event.name > 3",
        "event.gift > 0",
        "event.total",
        "event.total && event.gift",
        "!event.total",
        "event.shop > event.shop",
        "event.items[2] == 'x'",
        "event.items['a'] == 'x'",
        "event.nothing.x == 1",
        "event.shop.street == 'x'",
        "size(event.total) > 0",
        "event.total.contains('a')",
        "event.total + event.name == 'x'",
        "-event.name == 'x'",
        "'a' in event.name",
        "timestamp(event.name) > now",
        "1 / 0 == 1",
        "1 % 0 == 1",
        "9223372036854775807 + 1 > 0",
        "int(event.name) == 1",
        "event.total ? true : false",
        "days(event.total * 1e300) > hours(1)",
        "now + days(event.total * 9e6) > now",
        "has(event.name.x)",
    ],
)
def test_has_no_value(text: str) -> None:
    with pytest.raises(EvaluationError):
        holds(text)


def test_an_error_names_the_field_and_not_its_value() -> None:
    with pytest.raises(EvaluationError, match="no such field: missing"):
        holds("event.missing > 1")


@pytest.mark.parametrize(
    ("text", "code", "offset"),
    [
        ("event.total >", "cel-syntax", 13),
        ("event.total = 5", "cel-syntax", 12),
        ("not event.gift", "cel-syntax", 4),
        ("event.", "cel-syntax", 6),
        ("'open", "cel-syntax", 0),
        (r"'\q' == 'q'", "cel-syntax", 0),
        ("shop.Item{price: 1}", "cel-syntax", 9),
        ("", "cel-syntax", 0),
        ("evnt.total > 1", "cel-name", 0),
        ("event > 1", "cel-name", 0),
        ("occurrence.ky == 1", "cel-name", 11),
        ("length(event.items) > 1", "cel-name", 0),
        ("event.name.upper() == 'X'", "cel-name", 11),
        ("__import__('os')", "cel-name", 0),
        ("event.__class__.__bases__ > now", "cel-type", -1),
        ("1 + 'a' == 'x'", "cel-type", 2),
        ("1 + 1u == 2", "cel-type", 2),
        ("'a' > 1", "cel-type", 4),
        ("'a' == 1", "cel-type", 4),
        ("event.name % 2 == 'a'", "cel-type", -1),
        ("event.total + 1", "cel-type", -1),
        ("!1", "cel-type", 0),
        ("size(1) > 0", "cel-type", 0),
        ("has(event)", "cel-type", 0),
        ("metric.views > 1", "cel-name", 7),
        ("metric > 1", "cel-name", 0),
        ("metric.views.cuont > 1", "cel-name", 13),
        ("has(metric.views)", "cel-name", 11),
        ("segment", "cel-name", 0),
        ("segment.vips > 1", "cel-type", 13),
        ("occurrence.matched == 1", "cel-name", 11),
        ("occurrence.event == 1", "cel-name", 11),
        ("occurrence.events == 1", "cel-type", -1),
        ("1" * 30 + " > 0", "cel-limit", 0),
        ("a" * 5_000, "cel-limit", 0),
        ("[" * 70 + "]" * 70 + " == []", "cel-limit", 5),
    ],
)
def test_cannot_be_compiled(text: str, code: str, offset: int) -> None:
    """-1 if the place does not matter, or if another failure of the text is as good."""
    if offset == -1:
        with pytest.raises((SyntaxProblem, EvaluationError)):
            holds(text)
        return
    with pytest.raises(SyntaxProblem) as caught:
        compile_condition(text, "truth")
    assert (caught.value.code, caught.value.offset) == (code, offset)


def test_python_is_out_of_reach() -> None:
    """A field of any name is a key of a map, never an attribute; the generated code has no builtins."""
    for name in ("__class__", "__dict__", "properties.__class__", "pack", "time_ms"):
        with pytest.raises(EvaluationError):
            value(f"event.{name}")
    namespace = compile_condition("event.total > 1", "truth").code.function.__globals__
    assert namespace["__builtins__"] == {}


def test_text_of_a_rule_never_becomes_code() -> None:
    for hostile in ("'); import os; ('", 'x" + __import__("os").name + "', "\\n    return True\\n"):
        quoted = hostile.replace("'", "\\'")
        assert value(f"'{quoted}'") == hostile.replace("\\n", "\n")


def test_a_name_outside_its_scope_is_refused() -> None:
    with pytest.raises(SyntaxProblem, match="cannot be used here"):
        compile_condition("occurrence.key == 'a'", "truth", Scope(frozenset({"event", "user"})))


def test_an_unknown_score_is_refused_where_scores_are_known() -> None:
    scope = Scope(scores=frozenset({"engagement"}))
    with pytest.raises(SyntaxProblem) as caught:
        compile_condition("score.engagment > 1", "truth", scope)
    assert (caught.value.code, caught.value.hint) == ("unknown-score", "did you mean `engagement`?")


def test_values_are_what_json_has() -> None:
    assert value("event.items") == ["tea", "pot"]
    assert value("event.time") == "2023-11-14T22:13:20Z"
    assert value("event.total") == 50
    with pytest.raises(EvaluationError):
        value("event.total / 0")


def test_a_number_must_be_finite() -> None:
    condition: Condition = compile_condition("event.total / 0", "number")
    with pytest.raises(EvaluationError):
        condition.number(context())
    assert compile_condition("event.total / 10", "number").number(context()) == 5.0
    with pytest.raises(EvaluationError):
        compile_condition("event.gift", "number").number(context())


def test_deep_json_does_not_exhaust_the_stack() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    nested = StoredEvent("e1", "x", 0, "", {"deep": deep})
    with pytest.raises(EvaluationError):
        compile_condition("event.deep == event.deep", "truth").holds(Context(nested, USER, None, lambda _: 0.0, 0))


def test_a_metric_and_a_segment_are_read_through_the_context() -> None:
    fields = {"count": 3.0, "distinct": 2.0, "last": 1_700_000_000_000}
    context = Context(EVENT, USER, OCCURRENCE, lambda _: 0.0, 1_700_000_000_000 + 3_600_000)
    context.metric = lambda name, field: fields.get(field) if name == "views" else None
    context.segment = lambda name: name == "vips"

    def is_true(text: str) -> bool:
        return compile_condition(text, "truth").holds(context)

    assert is_true("metric.views.count == 3 && metric.views.count >= metric.views.distinct")
    assert is_true("now - metric.views.last == hours(1)")
    assert is_true("segment.vips && !segment.others")
    assert is_true("has(metric.views.last) && !has(metric.views.first)")
    with pytest.raises(EvaluationError, match="no such field: first"):
        is_true("metric.views.first < now")
    code = compile_condition("metric.a.count > 1 && metric.b.last < now || segment.s", "truth").code
    assert (code.metrics, code.segments) == ({("a", "count"), ("b", "last")}, {"s"})


def test_a_moment_is_a_timestamp_in_milliseconds() -> None:
    moment = compile_condition("timestamp(event.when) + hours(1)", "moment")
    assert moment.moment(context()) == 1_777_633_200_000
    with pytest.raises(EvaluationError, match="not a timestamp"):
        compile_condition("event.when", "moment").moment(context())
    with pytest.raises(SyntaxProblem, match="a timestamp is needed"):
        compile_condition("hours(1)", "moment")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("event.a > 1", "event.a > 1"),
        ("event.a > 1 && score.s > 2", "event.a > 1"),
        ("score.s > 2 && (event.a > 1 && (user.b && now > event.time))", "event.a > 1 && now > event.time"),
        ("event.l.exists(x, x > 1) && user.b", "event.l.exists(x, x > 1)"),
        ("event.a > 1 || score.s > 2", None),
        ("score.s > 2 && !(event.a > 1 && user.b)", None),
        ("event.a > user.b", None),
    ],
)
def test_what_a_condition_requires_of_only_the_event_are_operands_of_its_outermost_and(
    text: str, part: str | None
) -> None:
    found = part_over(compile_condition(text, "truth"), frozenset({"event", "now"}))
    assert (found and found.code.source) == (part and compile_condition(part, "truth").code.source)


@pytest.mark.parametrize(
    ("text", "compared"),
    [
        ('event.plan == "pro"', ("plan", {"pro"})),
        ('"pro" == event.plan', ("plan", {"pro"})),
        ('event.plan in ["pro", "team"]', ("plan", {"pro", "team"})),
        ('event.total > 3 && event.plan == "pro"', ("plan", {"pro"})),
        ('event.total > 3 && (has(event.plan) && event.plan == "pro")', ("plan", {"pro"})),
        ('event.plan != "pro"', None),
        ('event.plan == "pro" || event.total > 3', None),
        ('!(event.plan == "pro")', None),
        ('event.plan in ["pro", 3]', None),
        ("event.plan in []", None),
        ("event.plan == 3", None),
        ('event.shop.city == "Hamburg"', None),
        ('event.source == "shop"', None),
        ('user.plan == "pro"', None),
    ],
)
def test_a_condition_may_need_a_property_to_be_one_of_some_texts(text: str, compared: Any) -> None:
    assert texts_compared(compile_condition(text, "truth")) == compared


def test_the_entries_of_an_occurrence_are_made_once_though_a_macro_reads_them_for_each_item() -> None:
    class CountedOccurrence:
        made = 0

        @property
        def events(self) -> list[dict[str, Any]]:
            self.made += 1
            return [{"n": 1}]

    occurrence: Any = CountedOccurrence()
    condition = compile_condition("event.ids.all(each, occurrence.events[0].n > 0)", "truth")
    assert condition.holds(Context(EVENT, USER, occurrence, lambda _: 0.0, 0))
    assert occurrence.made == 1

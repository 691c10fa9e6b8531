"""The parts of CEL that rules define: numbers of the data, the bounds, and refused expressions."""

from typing import Any

import pytest
from drivers.own_time import within

from triggers.cel.conditions import Context, compile_condition
from triggers.cel.cost import MAX_COST, MAX_STEPS
from triggers.cel.strict import evaluate
from triggers.cel.tree import SyntaxProblem
from triggers.cel.values import EvaluationError
from triggers.rules.events import StoredEvent
from triggers.rules.state import User

ITEMS = [{"sku": "tea", "price": 4, "tags": ["new"]}, {"sku": "pot", "price": 30.5}]
NOW = 1_700_000_000_000


def evaluated(text: str, kind: Any = "value", **properties: Any) -> Any:
    given = {"items": ITEMS, "total": 50, "name": "Blue Train", "ids": [1, 2], "e-mail": "a@b.example", **properties}
    event = StoredEvent("e1", "cart", NOW, "shop", given)
    context = Context(event, User("u1", "Europe/Berlin", None, {"plan": "team"}), None, lambda _: 0.5, NOW)
    context.metric = lambda _, field: {"count": 3.0, "last": float(NOW)}.get(field)
    condition = compile_condition(text, kind)
    return condition.any(context) if kind == "any" else condition.value(context)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.items.exists(i, i.price > 20 && i.sku.matches('^p'))", True),
        ("event.items.exists(i, has(i.tags) && 'new' in i.tags)", True),
        ("event.items.all(i, i.price > 20)", False),
        ("event.items.exists_one(i, i.price > 20)", True),
        ("event.items.map(i, i.sku)", ["tea", "pot"]),
        ("event.items.map(i, i.price > 20, i.price * 2)", [61.0]),
        ("event.items.filter(i, i.price < 20)", [ITEMS[0]]),
        ("size(event.items.filter(i, i.price > 1)) * 2 == 4", True),
        ("[1, 2, 3].map(n, n % 2)", [1, 0, 1]),
        ("[3, 4].filter(n, n > 3)[0] % 3", 1),
        ("'a,b'.split(',').exists(part, part.startsWith('b'))", True),
        ("event.`e-mail`.endsWith('.example')", True),
        ("has(event.`e-mail`) && !has(event.`e-post`)", True),
        ("{'plan': user.plan, 'at': [now]}", {"plan": "team", "at": ["2023-11-14T22:13:20Z"]}),
        ("score.engagement * 2 == 1 && score.engagement + 1 > 1", True),
        ("metric.views.count / 2", 1.5),
        ("metric.views.count % 2.0 == 1.0", True),
        ("event.ids[0] + event.ids[1]", 3.0),
        ("event.total / 100 == 0.5", True),
        ("type(event.total) == double && type(size(event.ids)) == int && type(event.name) == string", True),
        ("type(score.engagement)", None),
        ("string(event.total) + event.name.upperAscii().substring(0, 1)", "50B"),
        ("event.name.charAt(size(event.name) - 1)", "n"),
        ("now.getHours(user.zone)", 23),
        ("event.time + duration('90m') > now && now - event.time < days(1)", True),
        ("timestamp('2023-11-14T23:13:20+01:00') == now", True),
    ],
)
def test_gives(text: str, expected: Any) -> None:
    if expected is None:
        with pytest.raises((SyntaxProblem, EvaluationError)):
            evaluated(text)
    else:
        assert evaluated(text) == expected


@pytest.mark.parametrize(
    ("text", "code", "offset"),
    [
        ("event.name.matches(event.pattern)", "cel-type", 25),
        ("event.name.matches('(')", "cel-syntax", 19),
        ("event.items.exists(event, event.x)", "cel-name", 19),
        ("event.items.exists(x, x.price)", "value", 0),
        ("event.items.exists(x, 1)", "cel-type", 22),
        ("event.items.filter(x, 'a')", "cel-type", 22),
        ("event.items.exists(x)", "cel-type", 12),
        ("event.name.exists(x, y)", "cel-name", 21),
        ("event.name.charAt('a')", "cel-type", 11),
        ("now.getHours(1)", "cel-type", 4),
        ("now.getHour()", "cel-name", 4),
        ("duration('1h').getDate()", "cel-type", 15),
        ("days('a')", "cel-type", 0),
        ("size(event.a, event.b)", "cel-type", 0),
        ("{event.x: 1, 1.5: 2}", "cel-type", 13),
        ("[1][true]", "cel-type", 3),
        ("1u + 1", "cel-type", 3),
        ("timestamp('2026-01-01T00:00:00Z') + 1", "cel-type", 34),
        ("timestamp('2026-01-01T00:00:00Z') < duration('1s')", "cel-type", 34),
        ("now > timestamp('2026-02-30T00:00:00Z')", "cel-syntax", 16),
        ("duration('1 day') > days(1)", "cel-syntax", 9),
        ("days(1e300) > days(1)", "cel-syntax", 5),
        ("b'a'", "cel-type", 0),
        ("7u", "cel-type", 0),
        ("duration('1s')", "cel-type", 0),
        ("int", "cel-type", 0),
    ],
)
def test_is_refused_when_loaded(text: str, code: str, offset: int) -> None:
    if code == "value":
        with pytest.raises(EvaluationError, match="true or false"):
            evaluated(text)
        return
    with pytest.raises(SyntaxProblem) as caught:
        evaluated(text)
    assert (caught.value.code, caught.value.offset) == (code, offset)


def test_days_and_hours_are_the_rules_own() -> None:
    assert evaluated("days(1) == hours(24) && days(0.5) == hours(12)") is True
    with pytest.raises(EvaluationError, match="no such function `days`"):
        evaluate("days(1)", {})


def test_numbers_of_the_data_are_doubles_and_stay_whole_in_strict_cel() -> None:
    assert evaluated("event.total / 100") == 0.5
    assert evaluate("x / 100", {"x": 50}) == 0
    assert evaluated("event.ids.map(i, i + 0.5)") == [1.5, 2.5]
    with pytest.raises(EvaluationError, match=r"int \+ double"):
        evaluate("x.map(i, i + 0.5)", {"x": [1, 2]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metric.views.last.getHours() / (metric.views.count - 1)", 11),
        ("now.getHours() / metric.views.count", 22 / 3),
        ("size(event.items) * 1.5", 3),
        ("1 + 0.5", 1.5),
        ("2.5 - 1", 1.5),
        ("size(event.items) / metric.views.count == 2 / 3.0", True),
        ("event.total % 2 == 0 && event.total % size(event.name) == 0", True),
        ("metric.views.count % 2", 1),
        ("-5.5 % 2", -1.5),
        ("size(event.items) > score.engagement && score.engagement < size(event.items)", True),
        ("size(event.items) == metric.views.count - 1", True),
        ("[1, 2.5].map(n, n * 2)", [2, 5]),
        ("(metric.views.count > 1 ? 1 : 0.5) / 2", 0.5),
        ("now.getHours() / 0.0 > 1e300", True),
        ("size(event.name) / 4", 2),
        ("7 / 2", 3),
        ("size(event.items) / 2.0 + 7 / 2", 4),
    ],
)
def test_whole_numbers_and_doubles_mix(text: str, expected: Any) -> None:
    """Two whole numbers are CEL's: their quotient is whole. Beside a double a whole number is a double."""
    assert evaluated(text) == expected


@pytest.mark.parametrize("text", ["event.total % 0", "1.5 % 0", "event.total / 0 % 2", "metric.views.count % 0.0"])
def test_a_remainder_that_does_not_exist_is_an_error(text: str) -> None:
    with pytest.raises(EvaluationError, match=r"division by zero|infinite"):
        evaluated(text)


def test_strict_cel_does_not_mix_numbers() -> None:
    for text in ("1 + 0.5", "x / 2.0", "7.0 % 2.0", "y % 2"):
        with pytest.raises(EvaluationError, match="no such operation"):
            evaluate(text, {"x": 1, "y": 7.0})


def cost(text: str) -> int:
    return compile_condition(text, "any").code.cost


def test_the_cost_is_known_when_loaded() -> None:
    assert cost("true") == 1
    assert cost("event.total > 20") == 4
    assert cost("[1, 2].exists(x, x > 1)") == 3 + 2 * (1 + 3)
    assert cost("event.a.exists(x, x > 1)") == 2 + 1 + 32 * (1 + 3) - 1
    assert cost("event.a.exists(x, event.b.exists(y, x == y))") < MAX_COST
    with pytest.raises(SyntaxProblem, match=f"may take more than {MAX_COST} steps"):
        cost("event.a.exists(x, event.b.exists(y, event.c.exists(z, x == y && y == z)))")


@pytest.mark.parametrize(
    "text",
    [
        "event.long.all(x, x >= 0)",
        "event.some.all(x, event.some.all(y, x + y >= 0))",
        "event.some.map(x, event.wide == event.wide).size() > 0",
        "event.some.all(x, !event.words.contains('b'))",
        "event.some.map(x, event.some + event.some).size() > 0",
        "event.some.all(x, x in event.long)",
        "event.some.all(x, event.wide != [x])",
    ],
)
def test_macros_over_long_data_end_with_an_error(text: str) -> None:
    long, wide = [1] * (MAX_STEPS + 1), [[["a"] * 20] * 20] * 20
    with within(1), pytest.raises(EvaluationError, match="too many steps"):
        evaluated(text, long=long, some=[1] * 300, wide=wide, words="a" * 20_000)


def test_what_shares_memory_is_not_larger_than_it_may_be() -> None:
    """Each step doubles the size of the written value, while its memory hardly grows."""
    doubled = "event.ids" + ".map(x, [x, x])" * 14
    with pytest.raises(EvaluationError, match="values"):
        evaluated(doubled)
    with pytest.raises(EvaluationError, match="values to compare"):
        evaluated(f"{doubled} == {doubled}")
    with pytest.raises(EvaluationError, match=r"characters put together|too many steps"):
        evaluated("event.names" + ".map(x, x + x)" * 25, names=["ab"])


def test_a_large_event_is_compared_within_bounds() -> None:
    wide = [[1] * 300] * 300
    with pytest.raises(EvaluationError, match="values to compare"):
        evaluated("event.wide == event.same", wide=wide, same=[[1.0] * 300] * 300)
    with pytest.raises(EvaluationError, match="values to compare"):
        evaluated("event.one in event.many", one=[1] * 300, many=[[1] * 299 + [2]] * 300)

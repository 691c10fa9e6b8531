"""Whole numbers are written without a point: in a message's data, in mails and subjects, and in decisions."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from drivers.trigger_world import World, at, event
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import app
from schemas.decisions import GateAnswer
from schemas.numbers import EXACT, number_text, whole, whole_numbers
from schemas.vocabulary import Gate
from senders.content.mail_builder import user_names
from senders.content.recipient import Recipient
from triggers.cel.conditions import Context, compile_condition
from triggers.cel.runtime import as_time
from triggers.engine.gates.table import gate_words
from triggers.rules.events import stored_event
from triggers.rules.state import User

TEMPLATE = (
    '---\nsubject: "{{ n }} orders, {{ spent }} spent, {{ user.points }} points"\n---\n<p>x</p>\n--- text ---\nx\n'
)
RULES = """metric: orders
event: order_completed
within: 30d
---
metric: spent
event: order_completed
within: 30d
sum: event.total
---
trigger: num
purpose: marketing
on: order_completed
send: {template: a, data: {n: metric.orders.count, spent: metric.spent.sum, points: event.total * 10, rest: 0.5}}
"""


def data(text: str, **properties: Any) -> str:
    """An expression's value over an event, as JSON writes it."""
    seen = stored_event(event("ping", at("2026-01-05 10:00"), "e1", **properties))
    context = Context(seen, User("u1"), None, lambda _: 0.0, 0)
    return json.dumps(compile_condition(text, "value").value(context))


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("event.n", "20"),
        ("event.n * 10", "200"),
        ("event.n / 3", "6.666666666666667"),
        ("event.n - 20", "0"),
        ("0 - event.n", "-20"),
        ("event.zero * -1", "0"),
        ("event.list", '[1, 2.5, {"a": 3, "b": [4]}]'),
        ("event.list.map(x, 5.0)", "[5, 5, 5]"),
        ('{"a": 2.0, "b": [event.n]}', '{"a": 2, "b": [20]}'),
        ("event.large", "9007199254740992"),
        ("event.larger", "1e+300"),
        ("event.million * 1000.0", "1000000000"),
        ("string(event.n)", '"20"'),
        ("string(event.large)", '"9007199254740992"'),
        ("string(event.n / 8)", '"2.5"'),
        ("true", "true"),
        ('"1.0"', '"1.0"'),
    ],
)
def test_a_whole_number_in_data_has_no_point(text: str, written: str) -> None:
    given = {"n": 20.0, "zero": 0.0, "large": 2.0**53, "larger": 1e300, "million": 1e6}
    assert data(text, **given, list=[1.0, 2.5, {"a": 3.0, "b": [4.0]}]) == written


def test_counts_sums_and_arithmetic_go_into_the_command_whole() -> None:
    world = World(RULES, "2026-01-05 09:00")
    world.event("2026-01-05 10:00", "order_completed", total=49.0)
    assert json.dumps(world.commands[0].data) == '{"n": 1, "spent": 49, "points": 490, "rest": 0.5}'


@pytest.mark.parametrize("text", ["event.n / 0.0", "0.0 / 0.0", "event.huge * event.huge"])
def test_a_number_that_json_lacks_drops_the_send_with_its_path(text: str) -> None:
    world = World(RULES.replace("event.total * 10", text), "2026-01-05 09:00")
    world.event("2026-01-05 10:00", "order_completed", total=49.0, n=1, huge=1e200)
    [decision] = world.decisions
    assert (decision.outcome, decision.reason, decision.inputs["path"]) == ("drop", "invalid_data", "data.points")


def test_what_a_decision_says_it_saw_is_whole_too() -> None:
    world = World(RULES + "when: metric.orders.count >= 2 && metric.spent.sum > 0\n", "2026-01-05 09:00")
    world.event("2026-01-05 10:00", "order_completed", total=49.0)
    assert json.dumps(world.decisions[0].inputs["metrics"]) == '{"orders.count": 1, "spent.sum": 49}'


def test_a_users_attributes_are_whole_in_a_template() -> None:
    recipient = Recipient("u1", None, None, None, {"points": 20.0, "deep": [{"x": 1.0}], "rate": 0.5}, {})
    assert json.dumps(user_names("u1", recipient)) == '{"points": 20, "deep": [{"x": 1}], "rate": 0.5, "id": "u1"}'


def test_preview_shows_the_subject_that_the_mail_will_have(tmp_path: Path) -> None:
    rules = RULES.replace("template: a", "template: num") + (
        "cases:\n  - name: one order\n    user: {points: 7.0}\n"
        '    given: [{at: "10:00", order_completed: {total: 49.0}}]\n    expect: [{at: "10:00", send: num}]\n'
    )
    (tmp_path / "templates").mkdir()
    (tmp_path / "rules.yaml").write_text(rules)
    (tmp_path / "templates" / "num.liquid").write_text(TEMPLATE)
    shown = CliRunner().invoke(app, ["preview", str(tmp_path / "templates" / "num.liquid")])
    assert "1 orders, 49 spent, 7 points" in shown.output
    (tmp_path / "data.json").write_text('{"n": 3.0, "spent": 0.5}')
    args = ["preview", str(tmp_path / "templates" / "num.liquid"), "--data", str(tmp_path / "data.json")]
    assert "3 orders, 0.5 spent, 7 points" in CliRunner().invoke(app, args).output


@pytest.mark.parametrize(
    ("number", "text"),
    [(1_036_800.0, "1036800"), (1e6, "1000000"), (5, "5"), (-0.0, "0"), (0.25, "0.25"), (1e300, "1e+300")],
)
def test_a_message_shows_a_number_with_all_its_digits(number: float, text: str) -> None:
    assert number_text(number) == text


def test_explain_says_how_late_a_send_is_without_an_exponent() -> None:
    answer = GateAnswer(gate=Gate.EXPIRY, passed=False, observed=1_036_800.0, limit=as_time(0))
    assert gate_words(answer).startswith("1036800 s after it was due")


NUMBERS = st.floats() | st.integers() | st.booleans() | st.text(max_size=3) | st.none()
JSON = st.recursive(NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner))


@given(JSON)
def test_writing_numbers_whole_changes_no_value_and_not_what_was_given(value: Any) -> None:
    before = copy.deepcopy(value)
    written = whole_numbers(value)
    assert repr(value) == repr(before)
    if "nan" not in repr(value):
        assert written == value
    assert not [each for each in _floats(written) if each.is_integer() and abs(each) <= EXACT]


def _floats(value: Any) -> list[float]:
    if isinstance(value, float):
        return [value] if math.isfinite(value) else []
    if isinstance(value, list | dict):
        inner = value.values() if isinstance(value, dict) else value
        return [each for item in inner for each in _floats(item)]
    return []


def test_a_deeply_nested_value_is_written_too() -> None:
    deep: Any = 1.0
    for _ in range(50_000):
        deep = [deep]
    written = whole_numbers(deep)
    while isinstance(written, list):
        written = written[0]
    assert repr(written) == "1"


@given(st.floats(allow_nan=False))
def test_only_what_is_exact_becomes_an_int(number: float) -> None:
    written = whole(number)
    assert written == number
    assert isinstance(written, int) == (number.is_integer() and abs(number) <= EXACT)

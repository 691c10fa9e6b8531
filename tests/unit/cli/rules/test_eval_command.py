"""`ebbtide eval` as a person and a script meet it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from cli.rules.evaluation import answer
from cli.rules.given_user import BadInput


def ebbtide_eval(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(app, ["eval", *arguments], input=given, env={"COLUMNS": "200", "TERM": "dumb"})


def answered(line: str) -> Any:
    return answer(line.encode())


def bound(form: str) -> Any:
    return answered('{"expr": "x", "bindings": {"x": ' + form + "}}")


def test_an_expression_is_evaluated_over_an_event_and_a_user(tmp_path: Path) -> None:
    (tmp_path / "user.json").write_text('{"user_id": "u1", "attributes": {"plan": "team"}}')
    done = ebbtide_eval(
        "event.total >= 20 && user.plan == 'team'",
        *("--event", "-", "--user", str(tmp_path / "user.json")),
        given='{"type": "cart_updated", "properties": {"total": 50}}',
    )
    assert (done.exit_code, done.stdout) == (0, "true\nbool, at most 9 steps\n")


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("user.json", '{"plan": "team", "score": {"engagement": 3}, "metric": {"orders": 3}, "variant": "a"}'),
        ("user.yaml", "plan: team\nscore: {engagement: 3}\nmetric: {orders: {count: 3, sum: 3}}\nvariant: a\n"),
    ],
)
def test_a_user_is_written_as_in_a_case_with_scores_metrics_and_a_variant(name: str, user: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(user)
    given = ("--user", str(tmp_path / name), "--segment", "vip", "--occurrence", "-")
    for text in (
        "score.engagement > 2 && user.plan == 'team' && segment.vip && !segment.lapsed",
        "metric.orders.count / 2 == 1.5 && metric.orders.sum == 3 && metric.orders.first == now",
        "occurrence.key == 'c1' && occurrence.variant == 'a' && occurrence.event.total == 5 && event.total == 5",
        "timestamp('2026-05-01T10:00:00Z') == occurrence.entered_at",
        "has(occurrence.matched) && occurrence.matched.n == 2",
        "size(occurrence.events) == 2 && occurrence.events[1].n == 4",
    ):
        occurrence = (
            '{"key": "c1", "entered_at": "2026-05-01T10:00:00Z", "event": {"properties": {"total": 5}}, '
            '"matched": {"properties": {"n": 2}}, "events": [{"properties": {"n": 3}}, {"properties": {"n": 4}}]}'
        )
        assert ebbtide_eval(text, *given, given=occurrence).stdout.splitlines()[0] == "true", text


def test_scores_and_metrics_that_the_user_does_not_have_are_told() -> None:
    shown = ebbtide_eval("score.x + metric.y.count", "--user", "-", given="{}").stdout
    assert shown.splitlines()[0] == "0.0"
    hint = "the user has no score `x`, so it is 0; the user has no metric `y`, so it has counted nothing"
    assert shown.splitlines()[-1] == f"  hint: {hint}"


def test_a_quotient_of_whole_numbers_that_is_cut_is_told() -> None:
    assert ebbtide_eval("7 / 2").stdout.splitlines() == [
        "3",
        "int, at most 3 steps",
        "  hint: the quotient of two whole numbers is cut to a whole one; write one as a fraction, as in 2.0",
    ]
    assert "hint" not in ebbtide_eval("7 / 2.0").stdout


def test_json_carries_value_type_and_cost() -> None:
    done = ebbtide_eval("duration('1h') + hours(1)", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (
        0,
        {"value": {"@duration": "7200s"}, "type": "duration", "cost": 5},
    )


def test_one_step_is_one_step() -> None:
    assert ebbtide_eval("1").stdout == "1\nint, at most 1 step\n"


def test_a_wrong_expression_is_shown_with_a_caret() -> None:
    done = ebbtide_eval("event.total >= 20 &&\nevnt.gift")
    assert done.exit_code == 1
    assert done.stdout == ("2:1: cel-name `evnt` is not known\n  evnt.gift\n  ^\n  hint: did you mean `event`?\n")
    result = json.loads(ebbtide_eval("event.total >", "--json").stdout)
    assert result["error"] == {
        "code": "cel-syntax",
        "message": "the expression ends too early",
        "offset": 13,
        "hint": "",
    }


def test_an_expression_without_a_value_says_why() -> None:
    done = ebbtide_eval("event.total > 1", "--event", "-", given="{}")
    assert (done.exit_code, done.stdout) == (1, "no value: no such field: total in 'event.total > 1'\n")


FLAT = (
    'an event has its fields under `properties`, as in {"properties": {"total": …}}; `total` outside of it is ignored'
)


def test_a_flat_event_gets_a_hint_where_its_fields_belong() -> None:
    flat = '{"type": "cart_updated", "total": 50, "cart_id": "c1"}'
    done = ebbtide_eval("event.total > 1", "--event", "-", given=flat)
    assert (done.exit_code, done.stdout) == (
        1,
        f"no value: no such field: total in 'event.total > 1'\n  hint: {FLAT}\n",
    )
    shown = ebbtide_eval("has(event.total)", "--event", "-", given=flat)
    assert (shown.exit_code, shown.stdout) == (0, f"false\nbool, at most 3 steps\n  hint: {FLAT}\n")
    result = json.loads(ebbtide_eval("event.total > 1", "--event", "-", "--json", given=flat).stdout)
    assert result["error"]["hint"] == FLAT
    result = json.loads(ebbtide_eval("has(event.total)", "--event", "-", "--json", given=flat).stdout)
    assert (result["value"], result["hint"]) == (False, FLAT)


def test_fields_under_another_key_and_a_flat_profile_get_the_hint_too() -> None:
    wrapped = ebbtide_eval("event.total > 1", "--event", "-", given='{"data": {"total": 50}}')
    assert '{"properties": {"total": …}}; `data` outside of it is ignored' in wrapped.stdout
    assert ebbtide_eval("user.plan == 'team'", "--user", "-", given='{"plan": "team"}').stdout.startswith("true\n")
    user = ebbtide_eval("user.plan == 'team'", "--user", "-", given='{"user_id": "u1", "plan": "team"}')
    assert 'a profile has its fields under `attributes`, as in {"attributes": {"plan": …}}' in user.stdout


def test_facts_may_stand_in_the_options_themselves() -> None:
    event, user = '{"properties": {"total": 25}}', ' {"plan": "team"}'
    both = ebbtide_eval("event.total > 20 && user.plan == 'team'", "--event", event, "--user", user)
    assert (both.exit_code, both.stdout.splitlines()[0]) == (0, "true")
    occurrence = ebbtide_eval("occurrence.key", "--occurrence", '{"key": "c1"}')
    assert occurrence.stdout.splitlines()[0] == '"c1"'


def test_what_the_expression_does_not_ask_for_may_stand_anywhere() -> None:
    for given in ('{"properties": {"total": 5}, "tenant": "x"}', '{"properties": {"total": 5}, "total": 6}'):
        assert "hint" not in ebbtide_eval("event.total > 1", "--event", "-", given=given).stdout


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("event.a",), "the expression reads `event`; give it with --event FILE"),
        (("event.a", "--event", "nowhere.json"), "nowhere.json: No such file or directory"),
        (("event.a", "--event", "bad.json"), "bad.json: not JSON: "),
        (("event.a", "--event", "other.json"), "other.json: not an event: properties: "),
        (("user.a", "--user", "bad.json"), "bad.json: not JSON: "),
        (("user.a", "--user", "list.json"), "list.json: not a mapping of names to values"),
        (("user.a", "--user", "low.json"), "low.json: not a user: score.a: "),
        (("user.a", "--user", "two.yaml"), "two.yaml: not a mapping of names to values"),
        (("score.a > 1",), 'the expression reads `score`; give it with --user FILE, as in {"score": '),
        (("segment.a",), "the expression reads `segment`; give it with --segment NAME"),
        (("occurrence.key == 1",), "the expression reads `occurrence`; give it with --occurrence FILE"),
        (("occurrence.id", "--occurrence", "low.json"), "low.json: not an occurrence: score: "),
        (("event.a", "--event", "{oops"), "--event: not JSON: "),
        (("event.a", "--event", '{"properties": 3}'), "--event: not an event: properties: not an object"),
        (("user.a", "--user", '{"score": {"a": -1}}'), "--user: not a user: score.a: less than 0"),
        (("occurrence.id", "--occurrence", '{"score": 1}'), "--occurrence: not an occurrence: score: unknown here"),
        (("--cases", "nowhere.jsonl"), "nowhere.jsonl: No such file or directory"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    arguments: tuple[str, ...], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text("{oops")
    Path("other.json").write_text('{"properties": 3}')
    Path("list.json").write_text("[]")
    Path("low.json").write_text('{"score": {"a": -1}}')
    Path("two.yaml").write_text("a: 1\n---\nb: 2\n")
    done = ebbtide_eval(*arguments)
    assert isinstance(done.exception, BadInput)
    assert str(done.exception).startswith(expected)


def test_a_mistake_has_exit_status_2() -> None:
    assert ebbtide_eval().exit_code == 2
    assert ebbtide_eval("1", "--cases", "-").exit_code == 2


def test_cases_are_answered_in_order(tmp_path: Path) -> None:
    lines = ['{"expr": "x + 1", "bindings": {"x": 1}}', "", "oops", '{"expr": "1 / 0"}', '{"expr": "[1.0, 2]"}']
    (tmp_path / "cases.jsonl").write_text("\n".join(lines))
    done = ebbtide_eval("--cases", str(tmp_path / "cases.jsonl"))
    assert done.exit_code == 0
    value, broken, failed, last = done.stdout.splitlines()
    assert (value, failed, last) == ('{"value":2}', '{"error":"division by zero"}', '{"value":[1.0,2]}')
    assert broken.startswith('{"error":"not JSON: ')


def test_an_example_and_the_forms_are_in_the_help() -> None:
    help_text = ebbtide_eval("--help").stdout
    assert "ebbtide eval 'event.total >= 20' --event cart.json" in help_text
    assert '{"@map": [[key, value]]}' in help_text


def test_a_case_says_what_is_wrong_with_it() -> None:
    assert answered("[]") == {"error": 'a line is {"expr": "…", "bindings": {…}}'}
    assert answered('{"expr": 1}') == {"error": 'a line is {"expr": "…", "bindings": {…}}'}
    assert answered('{"expr": "x", "bindings": []}') == {"error": "bindings are names with their values"}
    assert answered('{"expr": "x +"}') == {"error": "cel-syntax at 3: the expression ends too early"}
    assert bound("[" * 900 + "]" * 900) == {"error": "nested too deep"}


def test_every_form_of_a_binding_is_read_and_written_alike() -> None:
    for form in (
        *('{"@uint":7}', '{"@double":"NaN"}', '{"@double":"-Infinity"}', '{"@bytes":"AP8="}', '{"@type":"int"}'),
        *('{"@timestamp":"2026-05-01T10:00:00.000000001Z"}', '{"@duration":"-1.5s"}', '{"@map":[[1,"a"],[true,null]]}'),
        *("1", "1.0", "-0.0", "9223372036854775807", "null", "true", '"a"', '[1,{"a":{"@uint":0}}]', "{}", "1e300"),
    ):
        assert repr(bound(form)) == repr({"value": json.loads(form)})


def test_an_unknown_form_is_an_error() -> None:
    for form in (
        *('{"@uint":-1}', '{"@uint":true}', '{"@double":"1"}', '{"@bytes":"?"}', '{"@type":"cart"}', '{"@other":1}'),
        *('{"@timestamp":"now"}', '{"@duration":1}', '{"@map":[[1]]}', '{"@map":[[1.5,1]]}', "9223372036854775808"),
    ):
        assert list(bound(form)) == ["error"]

"""Standard CEL, section by section: the values of expressions, and which have none."""

from typing import Any

import pytest

from triggers.cel.json import from_json, to_json
from triggers.cel.strict import evaluate
from triggers.cel.tree import SyntaxProblem
from triggers.cel.values import EvaluationError


def value(text: str, **bindings: Any) -> Any:
    return to_json(evaluate(text, {name: from_json(each) for name, each in bindings.items()}))


LITERALS = [
    ("1", 1),
    ("-1", -1),
    ("0x1F", 31),
    ("-0xff", -255),
    ("-9223372036854775808", -(2**63)),
    ("7u", {"@uint": 7}),
    ("0xFFu", {"@uint": 255}),
    ("18446744073709551615u", {"@uint": 2**64 - 1}),
    ("1.5", 1.5),
    (".5", 0.5),
    ("1e3", 1000.0),
    ("-2.5E-1", -0.25),
    ("true", True),
    ("null", None),
    ("'a\"b'", 'a"b'),
    (r'"\a\b\f\n\r\t\v\\\?\"\'\`"', "\a\b\f\n\r\t\v\\?\"'`"),
    (r"'\x41\X42\u00e9\U0001F431\101\377'", "ABé🐱Aÿ"),
    (r"r'\n\\'", r"\n\\"),
    ("'''it's\ntwo'''", "it's\ntwo"),
    ('"""say "hi"\n"""', 'say "hi"\n'),
    ("r'''\\'''", "\\"),
    ("''''a'''", "'a"),
    ("b'abc'", {"@bytes": "YWJj"}),
    ("b'ÿ'", {"@bytes": "w78="}),
    (r"b'\377\xfe'", {"@bytes": "//4="}),
    (r"br'\x'", {"@bytes": "XHg="}),
    ("[1, 'a', [true]]", [1, "a", [True]]),
    ("[1, 2,]", [1, 2]),
    ("{'a': 1, 'b': {}}", {"a": 1, "b": {}}),
    ("{1: 'a', true: 'b', 2u: 'c'}", {"@map": [[1, "a"], [True, "b"], [{"@uint": 2}, "c"]]}),
    ("{'@uint': 1}", {"@map": [["@uint", 1]]}),
    ("1 // a comment\n + 1", 2),
    ("\t1\f+\r\n1", 2),
]


@pytest.mark.parametrize(("text", "expected"), LITERALS)
def test_a_literal_stands_for(text: str, expected: Any) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


OPERATORS = [
    ("2 + 3 * 4 - 1", 13),
    ("(2 + 3) * 4", 20),
    ("7 / 2", 3),
    ("-7 / 2", -3),
    ("-7 % 3", -1),
    ("7 % -3", 1),
    ("7u / 2u", {"@uint": 3}),
    ("1.0 / 0.0", {"@double": "Infinity"}),
    ("-1.0 / 0.0", {"@double": "-Infinity"}),
    ("0.0 / 0.0", {"@double": "NaN"}),
    ("--1", 1),
    ("!!true", True),
    ("- -9223372036854775807", 2**63 - 1),
    ("'a' + 'b'", "ab"),
    ("b'a' + b'b' == b'ab'", True),
    ("[1] + ['a']", [1, "a"]),
    ("1 < 2 == true", True),
    ("1 + 1 == 2 && 2 < 3 || false", True),
    ("true ? 1 : false ? 2 : 3", 1),
    ("false ? 1 : true ? 2 : 3", 2),
    ("false || true && false", False),
    ("true ? 1 : 1 / 0", 1),
    ("!false && !false", True),
    ("-2.0 * 3.0", -6.0),
]
EQUALITY = [
    ("1 == 1.0 && 1.0 == 1u && 1u == 1", True),
    ("1 == '1'", False),
    ("1 != '1'", True),
    ("null == false", False),
    ("true == 1", False),
    ("[1, 2.0] == [1.0, 2u]", True),
    ("[1] == [1, 2]", False),
    ("{'a': 1, 'b': 2} == {'b': 2.0, 'a': 1}", True),
    ("{1: 'a'} == {1u: 'a'}", True),
    ("{true: 'a'} == {1: 'a'}", False),
    ("0.0 / 0.0 == 0.0 / 0.0", False),
    ("[0.0 / 0.0] == [0.0 / 0.0]", False),
    ("0.0 == -0.0", True),
    ("timestamp(0) == 0", False),
    ("duration('1s') == 1000000000", False),
    ("1 < 1.5 && 1u < 1.5 && 2 > 1u", True),
    ("9223372036854775807 < 9223372036854775808.0", False),
    ("'B' < 'a' && 'a' < 'ab' && 'é' > 'z'", True),
    ("b'a' < b'b' && false < true", True),
    ("duration('1m') > duration('59s')", True),
    ("1.0 < 0.0 / 0.0", False),
]
CONTAINERS = [
    ("[5, 6][1]", 6),
    ("[5, 6][dyn(1.0)]", 6),
    ("[5, 6][1u]", 6),
    ("{'a': 1}['a']", 1),
    ("{1: 'x'}[1u]", "x"),
    ("{1: 'x'}[dyn(1.0)]", "x"),
    ("{true: 'x'}[true]", "x"),
    ("{'a': {'b': 2}}.a.b", 2),
    ("{'a-b/c.d': 3}.`a-b/c.d`", 3),
    ("2 in [1, 2.0]", True),
    ("'a' in {'a': 1}", True),
    ("1.5 in {1: 2}", False),
    ("[1] in [[1.0]]", True),
    ("has({'a': 1}.a) && !has({'a': 1}.b)", True),
    ("size([1, 2]) + size({'a': 1}) + size('é🐱') + b'ab'.size()", 7),
]


@pytest.mark.parametrize(("text", "expected"), OPERATORS + EQUALITY + CONTAINERS)
def test_operators_give(text: str, expected: Any) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


ERRORS = [
    ("9223372036854775807 + 1", "more than 64 bits"),
    ("-9223372036854775807 - 2", "more than 64 bits"),
    ("9223372036854775807 * 2", "more than 64 bits"),
    ("-x", "more than 64 bits"),
    ("x / -1", "more than 64 bits"),
    ("0u - 1u", "below 0"),
    ("1 / 0", "division by zero"),
    ("1 % 0", "division by zero"),
    ("1u % 0u", "division by zero"),
    ("1 + 1.0", "no such operation: int \\+ double"),
    ("1 + 1u", "no such operation: int \\+ uint"),
    ("1.0 % 1.0", "no such operation"),
    ("'a' + 1", "no such operation"),
    ("'a' * 2", "no such operation"),
    ("-'a'", "no such operation"),
    ("-1u", "no such operation"),
    ("!1", "true or false"),
    ("1 < 'a'", "no such operation: int < string"),
    ("null < null", "no such operation"),
    ("[1] < [2]", "no such operation"),
    ("[1][1]", "no item 1 in a list of 1"),
    ("[1][-1]", "no item -1"),
    ("[1][0.5]", "no such operation"),
    ("{'a': 1}['b']", "no such key"),
    ("{'a': 1}.b", "no such field: b"),
    ("1.a", "."),
    ("'a'.b", "no such field: b \\(of a string\\)"),
    ("{'a': 1, 'a': 2}", "the same key twice"),
    ("{1: 1, 1u: 2}", "the same key twice"),
    ("{1.0: 1}", "cannot be the key of a map"),
    ("1 in 2", "no such operation"),
    ("1 ? 2 : 3", "true or false"),
    ("nobody", "no such name `nobody`"),
    ("nothing(1)", "no such function"),
    ("'a'.nothing()", "no such function"),
    ("size(1)", "size of a int"),
    ("[1, 2].map(v, v / 0)", "division by zero"),
    ("[1].exists_one(v, v)", "true or false"),
    ("[1].filter(v, null)", "true or false"),
    ("1.all(v, true)", "."),
    ("'ab'.matches('(')", "invalid RE2 pattern"),
]


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_has_no_value(text: str, message: str) -> None:
    with pytest.raises((EvaluationError, SyntaxProblem), match=message):
        value(text, x=-(2**63))


LOGIC = [
    ("1 / 0 == 1 || true", True),
    ("true || 1 / 0 == 1", True),
    ("1 / 0 == 1 && false", False),
    ("false && 1 / 0 == 1", False),
    ("nobody || true", True),
    ("nothing(1) && false", False),
    ("1 || true", True),
    ("'a' && false", False),
    ("[1, 0].exists(v, 1 / v == 1)", True),
    ("[0, 1].exists(v, 1 / v == 1)", True),
    ("[0, 2].all(v, 1 / v == 1)", False),
    ("[].all(v, false) && ![].exists(v, true)", True),
]


@pytest.mark.parametrize(("text", "expected"), LOGIC)
def test_what_settles_an_answer_hides_errors(text: str, expected: bool) -> None:
    assert value(text) is expected


@pytest.mark.parametrize(
    "text", ["1 / 0 == 1 || false", "true && 1 / 0 == 1", "[0, 2].exists(v, 1 / v == 1)", "[0, 1].all(v, 1 / v == 1)"]
)
def test_what_leaves_an_answer_open_keeps_the_error(text: str) -> None:
    with pytest.raises(EvaluationError, match="division by zero"):
        value(text)


MACROS = [
    ("[1, 2, 3].all(v, v > 0)", True),
    ("[1, 2, 3].exists(v, v > 2)", True),
    ("[1, 2, 3].exists_one(v, v > 2)", True),
    ("[1, 2, 3].exists_one(v, v > 1)", False),
    ("[1, 2, 3].existsOne(v, v == 2)", True),
    ("[1, 2, 3].map(v, v * v)", [1, 4, 9]),
    ("[1, 2, 3].map(v, v > 1, v * v)", [4, 9]),
    ("[1, 2, 3].filter(v, v % 2 == 1)", [1, 3]),
    ("{'a': 1, 'b': 2}.filter(k, k > 'a')", ["b"]),
    ("{'a': 1, 'b': 2}.map(k, k + '!')", ["a!", "b!"]),
    ("{true: 1}.all(k, k)", True),
    ("[[1, 2], [3]].map(v, v.map(w, w + v[0]))", [[2, 3], [6]]),
    ("[1].map(v, [2].map(v, v))", [[2]]),
    ("x.map(x, x + 1)", [2, 3]),
    ("[3, 4].map(size, size(['a']) + size)", [4, 5]),
]


@pytest.mark.parametrize(("text", "expected"), MACROS)
def test_macros_give(text: str, expected: Any) -> None:
    assert value(text, x=[1, 2]) == expected


NAMES = [
    ("a.b.c", {"a.b.c": 1, "a.b": {"c": 2}, "a": {"b": {"c": 3}}}, 1),
    ("a.b.c", {"a.b": {"c": 2}, "a": {"b": {"c": 3}}}, 2),
    ("(a.b).c", {"a": {"b": {"c": 3}}}, 3),
    (".a", {"a": 4}, 4),
    ("[1].map(a, .a)", {"a": 4}, [4]),
    ("int == int", {"int": 5}, True),
    ("requests.size() > size", {"requests": [1, 2], "size": 1}, True),
]


@pytest.mark.parametrize(("text", "bindings", "expected"), NAMES)
def test_the_longest_bound_name_is_meant(text: str, bindings: dict[str, Any], expected: Any) -> None:
    assert value(text, **bindings) == expected


@pytest.mark.parametrize(
    ("text", "code", "offset"),
    [
        ("", "cel-syntax", 0),
        ("1 +", "cel-syntax", 3),
        ("for", "cel-syntax", 0),
        ("a + while", "cel-syntax", 4),
        ("void(1)", "cel-syntax", 0),
        ("'a\nb'", "cel-syntax", 0),
        (r"'\q'", "cel-syntax", 0),
        (r"'\ud800'", "cel-syntax", 0),
        (r"b'\u0041'", "cel-syntax", 0),
        ("9223372036854775808", "cel-limit", 0),
        ("-9223372036854775809", "cel-limit", 1),
        ("18446744073709551616u", "cel-limit", 0),
        ("1e999", "cel-limit", 0),
        ("{'a'}", "cel-syntax", 4),
        ("a{b: 1}", "cel-syntax", 1),
        ("[1].all(1, true)", "cel-type", 8),
        ("[1].all(a.b, true)", "cel-type", 10),
        ("has(a)", "cel-type", 0),
        ("true || " * 210 + "true", "cel-limit", 5),
        ("1 = 1", "cel-syntax", 2),
    ],
)
def test_text_that_is_not_an_expression_is_reported_with_its_place(text: str, code: str, offset: int) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        value(text)
    assert (caught.value.code, caught.value.offset) == (code, offset)


@pytest.mark.parametrize(
    "text",
    [
        "true" + " && true" * 150,
        "1" + " + 1" * 60 + " == 61",
        "(" * 500 + "true" + ")" * 500,
        "true && (" * 60 + "true" + ")" * 60,
        "true ? (" * 60 + "true" + ") : false" * 60,
        "false ? false : " * 60 + "true",
        "[1].all(a, " * 30 + "a == 1" + ")" * 30,
        "[true].exists(a, false || (" * 15 + "a" + "))" * 15,
        "[" * 60 + "]" * 60 + " != []",
        "!" * 60 + "true",
    ],
)
def test_what_is_deep_or_wide_is_still_evaluated(text: str) -> None:
    """CEL requires at least 32 levels; the compiler writes more functions to stay within Python's limits of nesting."""
    assert value(text) is True


def test_types_are_values() -> None:
    kinds = ("int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type")
    for text, name in zip(("1", "1u", "1.0", "true", "''", "b''", "[]", "{}", "null", "int"), kinds, strict=True):
        assert value(f"type({text}) == {name}") is True
        assert value(f"type({text})") == {"@type": name}
    assert value("type(timestamp(0)) == google.protobuf.Timestamp") is True
    assert value("type(duration('1s'))") == {"@type": "google.protobuf.Duration"}
    assert value("type(type(1)) == type(string)") is True

"""Conversions, texts, timestamps and durations, as CEL defines them."""

from typing import Any

import pytest

from triggers.cel.json import to_json
from triggers.cel.strict import evaluate
from triggers.cel.values import EvaluationError

CONVERSIONS = [
    ("int(1.9)", 1),
    ("int(-1.9)", -1),
    ("int('-42')", -42),
    ("int(42u)", 42),
    ("int(timestamp('1970-01-01T00:00:59.9Z'))", 59),
    ("int(timestamp('1969-12-31T23:59:59.9Z'))", -1),
    ("uint(3.7) == 3u && uint('8') == 8u && uint(5) == 5u", True),
    ("double('1e3')", 1000.0),
    ("double(9223372036854775807)", 2.0**63),
    ("double('-inf')", {"@double": "-Infinity"}),
    ("string(1) + string(2u) + string(1.5) + string(2.0) + string(true)", "121.52true"),
    ("string(-4.5e-3)", "-0.0045"),
    ("string(b'abc')", "abc"),
    ("string(timestamp('2009-02-13T23:31:30.120Z'))", "2009-02-13T23:31:30.12Z"),
    ("string(timestamp('9999-12-31T23:59:59.999999999Z'))", "9999-12-31T23:59:59.999999999Z"),
    ("string(duration('1h0.5s'))", "3600.5s"),
    ("string(duration('-1ms'))", "-0.001s"),
    ("bytes('ÿ')", {"@bytes": "w78="}),
    ("bool('true') && bool('T') && !bool('0') && bool(true)", True),
    ("timestamp(1) == timestamp('1970-01-01T00:00:01Z')", True),
    ("dyn(1) == 1.0", True),
]
TIMES = [
    ("timestamp('2009-02-13T23:31:30Z')", {"@timestamp": "2009-02-13T23:31:30Z"}),
    ("timestamp('2009-02-13T23:31:30+02:00')", {"@timestamp": "2009-02-13T21:31:30Z"}),
    ("timestamp('2009-02-13t23:31:30.5-00:30')", {"@timestamp": "2009-02-14T00:01:30.5Z"}),
    ("timestamp('0001-01-01T00:00:00Z')", {"@timestamp": "0001-01-01T00:00:00Z"}),
    ("duration('1h30m1.5s')", {"@duration": "5401.5s"}),
    ("duration('-1.5h')", {"@duration": "-5400s"}),
    ("duration('1ms1us1µs1ns')", {"@duration": "0.001002001s"}),
    ("duration('0')", {"@duration": "0s"}),
    ("timestamp(0) + duration('1s') == timestamp(1) && duration('1s') + timestamp(0) == timestamp(1)", True),
    ("timestamp(60) - timestamp(0)", {"@duration": "60s"}),
    ("timestamp(60) - duration('1m') == timestamp(0)", True),
    ("duration('1m') - duration('90s')", {"@duration": "-30s"}),
    ("-duration('1m')", {"@duration": "-60s"}),
    ("duration('10000s').getHours()", 2),
    ("duration('3730s').getMinutes()", 62),
    ("duration('-3730.9s').getSeconds()", -3730),
    ("duration('123.321456789s').getMilliseconds()", 321),
    ("duration('-1.5s').getMilliseconds()", -500),
]
PARTS = [
    ("getFullYear()", 2009),
    ("getMonth()", 1),
    ("getDate()", 13),
    ("getDayOfMonth()", 12),
    ("getDayOfWeek()", 5),
    ("getDayOfYear()", 43),
    ("getHours()", 23),
    ("getMinutes()", 31),
    ("getSeconds()", 30),
    ("getMilliseconds()", 123),
    ("getDate('Australia/Sydney')", 14),
    ("getDayOfMonth('+11:00')", 13),
    ("getDayOfWeek('Asia/Tokyo')", 6),
    ("getDayOfYear('US/Central')", 43),
    ("getHours('02:00')", 1),
    ("getHours('-09:30')", 14),
    ("getMinutes('Asia/Kathmandu')", 16),
    ("getSeconds('UTC')", 30),
    ("getMilliseconds('Europe/Berlin')", 123),
    ("getFullYear('+23:59')", 2009),
    ("getMonth('UTC')", 1),
]
TEXTS = [
    ("'tacocat'.contains('coc')", True),
    ("'tacocat'.startsWith('ta') && 'tacocat'.endsWith('at')", True),
    ("'hubba'.matches('ubb') && matches('hubba', '^h.*a$') && !'hubba'.matches('^u')", True),
    ("'mañana'.matches('a+ñ+a+')", True),
    ("'TacoCÉt'.lowerAscii()", "tacocÉt"),
    ("'tacocét'.upperAscii()", "TACOCéT"),
    (r"' \t\u00a0 trim \n'.trim()", "trim"),
    ("'héj'.reverse()", "jéh"),
    ("'tacocat'.charAt(3) + 'tacocat'.charAt(7)", "o"),
    ("'tacocat'.indexOf('a')", 1),
    ("'tacocat'.indexOf('a', 3)", 5),
    ("'tacocat'.indexOf('none')", -1),
    ("'tacocat'.indexOf('')", 0),
    ("'tacocat'.lastIndexOf('a')", 5),
    ("'tacocat'.lastIndexOf('a', 3)", 1),
    ("'tacocat'.lastIndexOf('')", 7),
    ("'tacocat'.substring(4)", "cat"),
    ("'tacocat'.substring(0, 4)", "taco"),
    ("'12 days 12 hours'.replace('12', '1')", "1 days 1 hours"),
    ("'12 days 12 hours'.replace('12', '1', 1)", "1 days 12 hours"),
    ("'a,b,c'.split(',')", ["a", "b", "c"]),
    ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
    ("'abc'.split('', 2)", ["a", "bc"]),
    ("'abc'.split('') == ['a', 'b', 'c'] && 'a'.split(',', 0) == []", True),
    ("['a', 'b'].join() + ['a', 'b'].join('-')", "aba-b"),
    ("'🐱b'.charAt(1) + '🐱b'.substring(0, 1)", "b🐱"),
]


@pytest.mark.parametrize(("text", "expected"), CONVERSIONS + TIMES + TEXTS)
def test_a_function_gives(text: str, expected: Any) -> None:
    found = to_json(evaluate(text, {}))
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(("call", "expected"), PARTS)
def test_a_timestamps_part_is(call: str, expected: int) -> None:
    assert evaluate(f"timestamp('2009-02-13T23:31:30.123456789Z').{call}", {}) == expected


@pytest.mark.parametrize(
    "text",
    [
        "int(9223372036854775808.0)",
        "int(0.0 / 0.0)",
        "int(' 1')",
        "int('1_0')",
        "int('1.0')",
        "int('9223372036854775808')",
        "int(true)",
        "int(18446744073709551615u)",
        "uint(-1)",
        "uint(-0.5)",
        "uint('-1')",
        "uint(1e20)",
        "double('1_0')",
        "double('0x1')",
        "double('')",
        r"string(b'\xff')",
        "string([])",
        "string(null)",
        "bytes(1)",
        "bool('yes')",
        "bool(1)",
        "timestamp('2009-02-13')",
        "timestamp('2009-02-13T23:31:30')",
        "timestamp('2009-02-13 23:31:30Z')",
        "timestamp('2009-02-30T00:00:00Z')",
        "timestamp('2009-02-13T23:31:60Z')",
        "timestamp('2009-02-13T23:31:30+24:00')",
        "timestamp('0000-01-01T00:00:00Z')",
        "timestamp('10000-01-01T00:00:00Z')",
        "timestamp('0001-01-01T00:00:00+00:01')",
        "timestamp(253402300800)",
        "timestamp(1.5)",
        "timestamp('9999-12-31T23:59:59.999999999Z') + duration('1ns')",
        "timestamp('0001-01-01T00:00:00Z') - duration('1ns')",
        "timestamp('9999-12-31T23:59:59Z') - timestamp('0001-01-01T00:00:00Z')",
        "duration('1')",
        "duration('1d')",
        "duration('s')",
        "duration('1h ')",
        "duration('')",
        "duration('320000000000s')",
        "duration('200000000000s') + duration('200000000000s')",
        "duration(1)",
        "timestamp(0) + timestamp(0)",
        "timestamp(0) + 1",
        "duration('1s') - timestamp(0)",
        "timestamp(0).getHours('Nowhere/City')",
        "timestamp(0).getHours('')",
        "timestamp(0).getHours('../etc')",
        "timestamp(0).getHours(1)",
        "duration('1s').getHours('UTC')",
        "duration('1s').getDate()",
        "timestamp('0001-01-01T00:00:00Z').getDate('-01:00')",
        "'abc'.charAt(4)",
        "'abc'.charAt(-1)",
        "'abc'.charAt(0.5)",
        "'abc'.substring(2, 1)",
        "'abc'.substring(4)",
        "'abc'.indexOf('a', 9)",
        "'abc'.contains(1)",
        "1.5.contains('a')",
        "['a', 1].join()",
        "'a'.join()",
        "'a'.matches(1)",
    ],
)
def test_a_function_has_no_value(text: str) -> None:
    with pytest.raises(EvaluationError):
        evaluate(text, {})


def test_what_is_put_together_is_bounded() -> None:
    for text in ("l + l", "s + s", "s.replace('', s)", "(s + '').split('')", "[s, s].join(s)", "s.matches('a')"):
        with pytest.raises(EvaluationError, match="more than"):
            evaluate(text, {"s": "a" * 60_000, "l": [0] * 6_000})


def test_a_pattern_takes_linear_time() -> None:
    """A backtracking search would take too long to finish."""
    assert evaluate("s.matches('^(a+)+$')", {"s": "a" * 19_000 + "b"}) is False
    with pytest.raises(EvaluationError, match="invalid RE2 pattern"):
        evaluate("''.matches('((a{1000}){1000})')", {})
    with pytest.raises(EvaluationError, match="a pattern of more than"):
        evaluate("''.matches(s)", {"s": "a" * 2_000})

"""The names of expressions, the compatible types, and the functions.

A type is a word: `int`, `uint`, `double`, `bool`, `string`, `bytes`, `list`, `map`, `null`, `timestamp`, `duration`,
`type`, and `dyn` for a type known only at run time.
"""

from typing import NamedTuple

from triggers.cel.tree import Literal
from triggers.cel.values import TYPES, Uint

ROOTS = ("event", "user", "score", "metric", "segment", "occurrence", "now")
EVENT = {"id": "string", "type": "string", "source": "string", "time": "timestamp", "properties": "map"}
USER = {"id": "string", "zone": "dyn", "locale": "dyn"}
OCCURRENCE = {"id": "string", "key": "dyn", "entered_at": "timestamp", "variant": "dyn", "events": "list"}
METRIC = {"count": "double", "sum": "double", "distinct": "double", "first": "timestamp", "last": "timestamp"}
OCCURRENCE_EVENTS = {"event": "c.occurrence.event", "matched": "c.occurrence.matched"}
"""The events of an occurrence, of which expressions read fields, and how."""
TYPE_NAMES = {each.removeprefix("google.protobuf.").lower(): each for each in TYPES} | {"null": "null_type"}
"""CEL's name of a type, by its name here."""
NUMBERS = frozenset({"int", "uint", "double"})
DIRECT = NUMBERS | {"string", "bytes", "bool", "timestamp", "duration"}
"""Types whose values Python compares as CEL does, if both have the same type."""
UNORDERED = frozenset({"list", "map", "null", "type"})
COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div", "%": "mod"}
WHOLE_ARITHMETIC = {
    "+": "int_result({} + {})",
    "-": "int_result({} - {})",
    "*": "int_result({} * {})",
    "/": "int_div({}, {})",
    "%": "int_mod({}, {})",
}
MIXED = frozenset({"int", "double"})
MIXED_ARITHMETIC = {
    **{operator: f"({{}} {operator} {{}})" for operator in "+-*"},
    "/": "double_div({}, {})",
    "%": "double_mod({}, {})",
}
"""In rules, of two numbers of which one is a double; the other may be a whole number."""
TIME_ARITHMETIC = {
    ("+", "timestamp", "duration"): "timestamp_result({} + {})",
    ("+", "duration", "timestamp"): "timestamp_result({} + {})",
    ("+", "duration", "duration"): "duration_result({} + {})",
    ("-", "timestamp", "timestamp"): "duration_result({} - {})",
    ("-", "timestamp", "duration"): "timestamp_result({} - {})",
    ("-", "duration", "duration"): "duration_result({} - {})",
}
"""Both are whole nanoseconds in Python."""
_SAME = {(name, name): name for name in ("uint", "double")}
RESULTS: dict[str, dict[tuple[str, str], str]] = {
    "+": {
        **_SAME,
        **{(name, name): name for name in ("string", "bytes", "list", "duration")},
        ("timestamp", "duration"): "timestamp",
        ("duration", "timestamp"): "timestamp",
    },
    "-": {
        **_SAME,
        ("timestamp", "timestamp"): "duration",
        ("timestamp", "duration"): "timestamp",
        ("duration", "duration"): "duration",
    },
    "*": _SAME,
    "/": _SAME,
    "%": {("uint", "uint"): "uint"},
}


class Function(NamedTuple):
    """A function of the runtime: its name there, the types that each argument may have, and the result's type."""

    runtime: str
    takes: tuple[str, ...]
    gives: str
    element: str = "dyn"


_NUMBER = "int uint double"
FUNCTIONS: dict[tuple[str, int], Function] = {
    ("size", 1): Function("size", ("string bytes list map",), "int"),
    ("int", 1): Function("to_int", (f"{_NUMBER} string timestamp",), "int"),
    ("uint", 1): Function("to_uint", (f"{_NUMBER} string",), "uint"),
    ("double", 1): Function("to_double", (f"{_NUMBER} string",), "double"),
    ("string", 1): Function("to_string", (f"{_NUMBER} string bool bytes timestamp duration",), "string"),
    ("bytes", 1): Function("to_bytes", ("string bytes",), "bytes"),
    ("bool", 1): Function("to_bool", ("string bool",), "bool"),
    ("timestamp", 1): Function("to_timestamp", ("string int timestamp",), "timestamp"),
    ("duration", 1): Function("to_duration", ("string duration",), "duration"),
    ("type", 1): Function("type_of", ("any",), "type"),
    ("dyn", 1): Function("", ("any",), "dyn"),
    ("matches", 2): Function("matches", ("string", "string"), "bool"),
}
RULE_FUNCTIONS: dict[tuple[str, int], Function] = {
    **FUNCTIONS,
    ("timestamp", 1): Function("to_timestamp", ("string timestamp",), "timestamp"),
    ("days", 1): Function("days", (_NUMBER,), "duration"),
    ("hours", 1): Function("hours", (_NUMBER,), "duration"),
}
"""CEL's functions, and those that only rules have."""
_DATES = {
    "getFullYear": "year",
    "getMonth": "month",
    "getDate": "date",
    "getDayOfMonth": "day_of_month",
    "getDayOfWeek": "day_of_week",
    "getDayOfYear": "day_of_year",
}
_TIMES = {"getHours": "hour", "getMinutes": "minute", "getSeconds": "second", "getMilliseconds": "millisecond"}
ZONED = frozenset({*_DATES, *_TIMES})
"""The methods that take a zone."""
METHODS: dict[tuple[str, int], Function] = {
    ("size", 0): FUNCTIONS["size", 1],
    ("contains", 1): Function("contains", ("string", "string"), "bool"),
    ("startsWith", 1): Function("starts_with", ("string", "string"), "bool"),
    ("endsWith", 1): Function("ends_with", ("string", "string"), "bool"),
    ("matches", 1): FUNCTIONS["matches", 2],
    ("lowerAscii", 0): Function("lower", ("string",), "string"),
    ("upperAscii", 0): Function("upper", ("string",), "string"),
    ("trim", 0): Function("trim", ("string",), "string"),
    ("reverse", 0): Function("reverse", ("string",), "string"),
    ("charAt", 1): Function("char_at", ("string", "int"), "string"),
    ("indexOf", 1): Function("index_of", ("string", "string"), "int"),
    ("indexOf", 2): Function("index_of", ("string", "string", "int"), "int"),
    ("lastIndexOf", 1): Function("last_index_of", ("string", "string"), "int"),
    ("lastIndexOf", 2): Function("last_index_of", ("string", "string", "int"), "int"),
    ("substring", 1): Function("substring", ("string", "int"), "string"),
    ("substring", 2): Function("substring", ("string", "int", "int"), "string"),
    ("replace", 2): Function("replace", ("string", "string", "string"), "string"),
    ("replace", 3): Function("replace", ("string", "string", "string", "int"), "string"),
    ("split", 1): Function("split", ("string", "string"), "list", "string"),
    ("split", 2): Function("split", ("string", "string", "int"), "list", "string"),
    ("join", 0): Function("join_texts", ("list",), "string"),
    ("join", 1): Function("join_texts", ("list", "string"), "string"),
    **{(name, 0): Function(each, ("timestamp",), "int") for name, each in _DATES.items()},
    **{(name, 0): Function(each, ("timestamp duration",), "int") for name, each in _TIMES.items()},
    **{(name, 1): Function(each, ("timestamp", "string"), "int") for name, each in (_DATES | _TIMES).items()},
}
"""By name and number of arguments without the receiver, which is the first argument of the function."""
MACROS = {"all": (2,), "exists": (2,), "exists_one": (2,), "existsOne": (2,), "map": (2, 3), "filter": (2,)}
"""By name: the number of arguments. The first is the name of a variable."""


class Code(NamedTuple):
    """A Python expression and the CEL type of its value, and for a list the type of its items."""

    text: str
    type: str
    element: str = "dyn"


def comparable(a: str, b: str) -> bool:
    """Whether the two types can be compared with `==`, `<` and similar operators."""
    return "dyn" in (a, b) or a == b or {a, b} <= NUMBERS


def common(types: set[str]) -> str:
    """The common type of these types."""
    return next(iter(types)) if len(types) == 1 else "dyn"


def literal(node: Literal) -> Code:
    """A literal, with its type."""
    value = node.value
    if value.__class__ is Uint:
        return Code(f"Uint({value!r})", "uint")
    kinds: dict[type, str] = {bool: "bool", int: "int", float: "double", str: "string", bytes: "bytes"}
    text = repr(value)
    return Code(f"({text})" if text.startswith("-") else text, kinds.get(value.__class__, "null"))


def event_field(event: str, name: str) -> Code:
    """A field of the event that a Python expression returns: a field of the envelope or a property."""
    if name == "time":
        return Code(f"moment({event}.time_ms)", "timestamp")
    if name in EVENT:
        return Code(f"{event}.{name}", EVENT[name])
    return Code(f"{event}.properties[{name!r}]", "dyn")


def has_event_field(event: str, name: str) -> Code:
    """Whether the event has the field."""
    return Code("True", "bool") if name in EVENT else Code(f"({name!r} in {event}.properties)", "bool")


def as_bool(code: Code) -> str:
    """The code with a check that its value is a boolean."""
    return code.text if code.type == "bool" else f"truth({code.text})"

"""What expressions may name, which types go together, and the smallest pieces of typed code."""

from typing import NamedTuple

from triggers.cel_syntax import Expr, Literal, Unary

ROOTS = ("event", "user", "score", "metric", "segment", "occurrence", "now")
EVENT = {"id": "string", "type": "string", "source": "string", "time": "timestamp", "properties": "map"}
USER = {"id": "string", "zone": "dyn", "locale": "dyn"}
OCCURRENCE = {"id": "string", "key": "dyn", "entered_at": "timestamp", "variant": "dyn"}
METRIC = {"count": "double", "sum": "double", "distinct": "double", "first": "timestamp", "last": "timestamp"}
LATER_OCCURRENCE = ("events", "matched")
FUNCTIONS = {
    "size": ("size", "int"),
    "days": ("days", "duration"),
    "hours": ("hours", "duration"),
    "int": ("to_int", "int"),
    "double": ("to_double", "double"),
    "string": ("to_string", "string"),
    "timestamp": ("to_timestamp", "timestamp"),
}
METHODS = {"contains": "text_contains", "startsWith": "text_starts", "endsWith": "text_ends"}
LATER_FUNCTIONS = frozenset(
    (
        *("matches", "all", "exists", "exists_one", "map", "filter", "duration", "type", "dyn", "uint", "bytes"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours"),
        *("getMinutes", "getSeconds", "getMilliseconds", "lowerAscii", "upperAscii"),
    )
)
NUMBERS = frozenset({"int", "double"})
COMPARISONS = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div"}

RESULTS: dict[str, dict[tuple[str, str], str]] = {
    "+": {
        ("double", "double"): "double",
        ("string", "string"): "string",
        ("list", "list"): "list",
        ("timestamp", "duration"): "timestamp",
        ("duration", "timestamp"): "timestamp",
        ("duration", "duration"): "duration",
    },
    "-": {
        ("double", "double"): "double",
        ("timestamp", "timestamp"): "duration",
        ("timestamp", "duration"): "timestamp",
        ("duration", "duration"): "duration",
    },
    "*": {("double", "double"): "double"},
    "/": {("double", "double"): "double"},
}


def comparable(a: str, b: str) -> bool:
    return "dyn" in (a, b) or a == b or {a, b} <= NUMBERS


class Code(NamedTuple):
    """A Python expression and the CEL type of its value; `dyn` where only the data can say."""

    text: str
    type: str


def literal(node: Literal) -> Code:
    """A literal, with its type."""
    kinds: dict[type, str] = {bool: "bool", int: "int", float: "double", str: "string", type(None): "null"}
    return Code(repr(node.value), kinds[type(node.value)])


def event_field(event: str, name: str) -> Code:
    """A field of the event that a Python expression gives: of the envelope, else a property."""
    if name == "time":
        return Code(f"as_time({event}.time_ms)", "timestamp")
    if name in EVENT:
        return Code(f"{event}.{name}", EVENT[name])
    return Code(f"{event}.properties[{name!r}]", "dyn")


def has_event_field(event: str, name: str) -> Code:
    """Whether the event has the field."""
    return Code("True", "bool") if name in EVENT else Code(f"({name!r} in {event}.properties)", "bool")


def as_bool(code: Code) -> str:
    """The code as one that gives true or false, or fails."""
    return code.text if code.type == "bool" else f"truth({code.text})"


def is_whole_literal(node: Expr) -> bool:
    """Whether the node is a whole number as written, which reads as a double beside dynamic data."""
    match node:
        case Literal(value=value):
            return isinstance(value, int) and not isinstance(value, bool)
        case Unary(operator="-", operand=operand):
            return is_whole_literal(operand)
        case _:
            return False

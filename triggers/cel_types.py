"""What expressions may name, and which types go together: the tables that the compiler checks by."""

ROOTS = ("event", "user", "score", "occurrence", "now")
LATER_ROOTS = ("metric", "segment")
EVENT = {"id": "string", "type": "string", "source": "string", "time": "timestamp", "properties": "map"}
USER = {"id": "string", "zone": "dyn", "locale": "dyn"}
OCCURRENCE = {"id": "string", "key": "dyn", "entered_at": "timestamp", "variant": "dyn"}
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

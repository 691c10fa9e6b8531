"""CEL's values as JSON, without ambiguity between types.

`null`, booleans, texts, lists and maps with text keys are JSON's own. `1` is an int, `1.0` a double. What JSON lacks
is written as an object with one key: {"@uint": 7}, {"@double": "NaN"}, "Infinity" or "-Infinity", {"@bytes": base64},
{"@timestamp": RFC 3339}, {"@duration": "1.5s"}, {"@type": "int"}, and {"@map": [[key, value], …]} for a map with other
keys, or with one key that begins with @. Reading and writing use the same forms.
"""

import base64
import binascii
from collections.abc import Callable
from typing import Any

from triggers.cel.runtime import map_of
from triggers.cel.time import duration_text, parse_duration, parse_timestamp, timestamp_text
from triggers.cel.values import (
    TYPES,
    Duration,
    EvaluationError,
    Timestamp,
    Type,
    Uint,
    from_key,
    int_result,
    kind,
    uint_result,
)

MAX_VALUES = 100_000
"""The maximum number of values in one result. Macros can build a result far larger than the memory it takes."""
_NOT_FINITE = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def to_json(value: Any) -> Any:
    """The value as JSON; raises EvaluationError if it is too large."""
    return _written(value, [MAX_VALUES])


def _written(value: Any, left: list[int]) -> Any:
    left[0] -= 1
    if left[0] < 0:
        raise EvaluationError(f"more than {MAX_VALUES} values in the result")
    match value:
        case list():
            return [_written(item, left) for item in value]
        case dict():
            return _written_map(value, left)
        case Uint():
            return {"@uint": int(value)}
        case Timestamp():
            return {"@timestamp": timestamp_text(value)}
        case Duration():
            return {"@duration": duration_text(value)}
        case float() if value != value or value in (float("inf"), float("-inf")):
            return {"@double": "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"}
        case bytes():
            return {"@bytes": base64.b64encode(value).decode()}
        case Type():
            return {"@type": value.name}
        case None | bool() | int() | float() | str():
            return value
    raise EvaluationError(f"a {kind(value)} is not a CEL value")


def _written_map(value: dict[Any, Any], left: list[int]) -> Any:
    if all(key.__class__ is str for key in value) and not (len(value) == 1 and next(iter(value)).startswith("@")):
        return {key: _written(item, left) for key, item in value.items()}
    return {"@map": [[_written(from_key(key), left), _written(item, left)] for key, item in value.items()]}


def from_json(value: Any) -> Any:
    """The value of its JSON; raises EvaluationError for an unknown form."""
    if value.__class__ is list:
        return [from_json(item) for item in value]
    if value.__class__ is int:
        return int_result(value)
    if value.__class__ is not dict:
        return value
    name = next(iter(value), "")
    if len(value) == 1 and name.startswith("@"):
        return _tagged(name, value[name])
    return {key: from_json(item) for key, item in value.items()}


def _tagged(name: str, value: Any) -> Any:
    wanted, read = _TAGS.get(name, (object, None))
    if read is None:
        raise EvaluationError(f"unknown form {name}; known: {', '.join(_TAGS)}")
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise EvaluationError(f"{name} does not take a {kind(value)}")
    return read(value)


def _double(value: str) -> float:
    if value in _NOT_FINITE:
        return _NOT_FINITE[value]
    raise EvaluationError(f"@double takes {', '.join(_NOT_FINITE)}")


def _bytes(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise EvaluationError("@bytes takes base64") from None


def _type(value: str) -> Type:
    if value in TYPES:
        return TYPES[value]
    raise EvaluationError(f"@type takes {', '.join(TYPES)}")


def _map(value: list[Any]) -> dict[Any, Any]:
    if not all(entry.__class__ is list and len(entry) == 2 for entry in value):
        raise EvaluationError("@map takes pairs of key and value")
    return map_of(*((from_json(key), from_json(item)) for key, item in value))


_TAGS: dict[str, tuple[type, Callable[[Any], Any] | None]] = {
    "@uint": (int, uint_result),
    "@double": (str, _double),
    "@bytes": (str, _bytes),
    "@timestamp": (str, parse_timestamp),
    "@duration": (str, parse_duration),
    "@type": (str, _type),
    "@map": (list, _map),
}

"""The part of JSON Schema (draft 2020-12) that our own schemas use; a keyword it does not know is an error."""

import re
from typing import Any

TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
}
IGNORED = {"$schema", "$defs", "title", "description", "default", "if", "then"}


def accepts(schema: dict[str, Any], value: Any, root: dict[str, Any] | None = None) -> bool:
    """Whether the value is valid."""
    root = root or schema
    if "if" in schema and accepts(schema["if"], value, root) and not accepts(schema["then"], value, root):
        return False
    return all(_holds(name, expected, schema, value, root) for name, expected in schema.items() if name not in IGNORED)


def _holds(name: str, expected: Any, schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    match name:
        case "$ref":
            return accepts(root["$defs"][expected.removeprefix("#/$defs/")], value, root)
        case "anyOf":
            return any(accepts(each, value, root) for each in expected)
        case "oneOf":
            return sum(accepts(each, value, root) for each in expected) == 1
        case "allOf":
            return all(accepts(each, value, root) for each in expected)
        case "type":
            return any(_is(kind, value) for kind in ([expected] if isinstance(expected, str) else expected))
        case "enum":
            return value in expected
        case "pattern":
            return not isinstance(value, str) or re.search(expected, value) is not None
        case "maxLength":
            return not isinstance(value, str) or len(value) <= expected
        case "minimum":
            return not _is("number", value) or value >= expected
        case "maximum":
            return not _is("number", value) or value <= expected
        case "required":
            return not isinstance(value, dict) or all(key in value for key in expected)
        case "properties":
            return not isinstance(value, dict) or all(
                accepts(expected[k], v, root) for k, v in value.items() if k in expected
            )
        case "additionalProperties":
            others = set(value) - set(schema.get("properties", {})) if isinstance(value, dict) else set()
            return all(expected is not False and accepts(expected, value[key], root) for key in others)
        case "minProperties":
            return not isinstance(value, dict) or len(value) >= expected
        case "maxProperties":
            return not isinstance(value, dict) or len(value) <= expected
        case "items":
            return not isinstance(value, list) or all(accepts(expected, item, root) for item in value)
        case "minItems":
            return not isinstance(value, list) or len(value) >= expected
        case "maxItems":
            return not isinstance(value, list) or len(value) <= expected
    raise AssertionError(f"a keyword that this validator does not know: {name}")


def _is(kind: str, value: Any) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))

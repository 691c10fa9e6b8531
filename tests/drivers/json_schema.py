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
    return all(_holds(name, told, schema, value, root) for name, told in schema.items() if name not in IGNORED)


def _holds(name: str, told: Any, schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    match name:
        case "$ref":
            return accepts(root["$defs"][told.removeprefix("#/$defs/")], value, root)
        case "anyOf":
            return any(accepts(each, value, root) for each in told)
        case "oneOf":
            return sum(accepts(each, value, root) for each in told) == 1
        case "allOf":
            return all(accepts(each, value, root) for each in told)
        case "type":
            return any(_is(kind, value) for kind in ([told] if isinstance(told, str) else told))
        case "enum":
            return value in told
        case "pattern":
            return not isinstance(value, str) or re.search(told, value) is not None
        case "maxLength":
            return not isinstance(value, str) or len(value) <= told
        case "minimum":
            return not _is("number", value) or value >= told
        case "maximum":
            return not _is("number", value) or value <= told
        case "required":
            return not isinstance(value, dict) or all(key in value for key in told)
        case "properties":
            return not isinstance(value, dict) or all(accepts(told[k], v, root) for k, v in value.items() if k in told)
        case "additionalProperties":
            others = set(value) - set(schema.get("properties", {})) if isinstance(value, dict) else set()
            return all(told is not False and accepts(told, value[key], root) for key in others)
        case "minProperties":
            return not isinstance(value, dict) or len(value) >= told
        case "maxProperties":
            return not isinstance(value, dict) or len(value) <= told
        case "items":
            return not isinstance(value, list) or all(accepts(told, item, root) for item in value)
        case "minItems":
            return not isinstance(value, list) or len(value) >= told
        case "maxItems":
            return not isinstance(value, list) or len(value) <= told
    raise AssertionError(f"a keyword that this validator does not know: {name}")


def _is(kind: str, value: Any) -> bool:
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))

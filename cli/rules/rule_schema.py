"""The JSON Schema of rule files for editors, made from the declared keys of the language.

It covers keys, values, required keys and keys that exclude each other. Only `ebbtide check` knows which names are
defined and whether expressions are right.
"""

from typing import Any, TextIO

import orjson

from triggers.language import keys
from triggers.language.declarations import ChoiceShape, Key, RecordShape, ScalarShape, Shape

Schema = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
HINT = "# yaml-language-server: $schema="
"""The comment that names the schema to editors, before the path of the schema. A rule file begins with it."""


def rule_schema() -> Schema:
    """The schema of one document of a rule file, of any kind."""
    kinds = {name: _record(shape, f"A {name}. {shape.sentence}") for name, shape in keys.KINDS.items()}
    return {
        "$schema": DIALECT,
        "title": "Ebbtide rule file",
        "type": "object",
        "anyOf": [{"required": [kind]} for kind in kinds],
        "allOf": [{"if": {"required": [kind]}, "then": {"$ref": f"#/$defs/{kind}"}} for kind in kinds],
        "$defs": kinds | {name: _shape(shape) for name, shape in keys.SHAPES.items()},
    }


def write_rule_schema(into: TextIO) -> None:
    """Writes the schema as indented JSON."""
    into.write(orjson.dumps(rule_schema(), option=orjson.OPT_INDENT_2).decode() + "\n")


def _shape(shape: Shape) -> Schema:
    if isinstance(shape, ScalarShape):
        return {"description": f"{shape.sentence} As in {shape.form}", **shape.schema}
    if isinstance(shape, ChoiceShape):
        return {"description": shape.sentence, **_takes(shape.takes)}
    return _record(shape, shape.sentence)


def _record(shape: RecordShape, description: str) -> Schema:
    written: Schema = {
        "description": description,
        "type": "object",
        "properties": {key.name: _key(key) for key in shape.keys if not key.next},
        "required": [key.name for key in shape.keys if key.required],
        "additionalProperties": False,
    }
    groups = [{"oneOf": [{"required": [name]} for name in group]} for group in shape.exactly_one]
    return written | ({"allOf": groups} if groups else {})


def _key(key: Key) -> Schema:
    default = f" Default: {key.default}." if key.default else ""
    return {"description": f"{key.sentence}{default}", **_takes(key.takes)}


def _takes(text: str) -> Schema:
    """What a key takes, as a schema."""
    options = [option.strip() for option in _split(text)]
    words = [option for option in options if _is_word(option)]
    found = [_one(option) for option in options if not _is_word(option) and not _is_next(option)]
    if words:
        found.insert(0, {"enum": words})
    return found[0] if len(found) == 1 else {"anyOf": found}


def _one(option: str) -> Schema:
    if option.startswith("["):
        item = _takes(option[1:-1])
        return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}
    if option.startswith("list "):
        return {"type": "array", "items": _takes(option.removeprefix("list "))}
    if option.startswith("map "):
        return {"type": "object", "additionalProperties": _takes(option.removeprefix("map "))}
    if ".." in option:
        low, high = option.split("..")
        return {"type": "integer", "minimum": int(low), "maximum": int(high)}
    return {"$ref": f"#/$defs/{option}"}


def _split(text: str) -> list[str]:
    return [text] if text.startswith("[") and text.endswith("]") else text.split("|")


def _is_word(option: str) -> bool:
    return option.isidentifier() and option.islower()


def _is_next(option: str) -> bool:
    shape = keys.SHAPES.get(option)
    return isinstance(shape, RecordShape) and shape.next

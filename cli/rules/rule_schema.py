"""The JSON Schema of rule files for editors, made from the declared keys of the language.

It covers keys, values, required keys and keys that exclude each other. Only `ebbtide check` knows which names are
defined and whether expressions are right.
"""

from collections.abc import Iterable
from typing import Any, TextIO

import orjson

from schemas.numbers import whole
from triggers.language import keys
from triggers.language.declarations import (
    Bounds,
    ChoiceShape,
    Items,
    Key,
    Named,
    Option,
    RecordShape,
    ScalarShape,
    Shape,
    Word,
    options,
)
from triggers.language.reader import written_default
from triggers.language.yaml_tree import plain_value

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
        return {"description": shape.sentence, **_any_of(options(shape.takes))}
    return _record(shape, shape.sentence)


def _record(shape: RecordShape, description: str) -> Schema:
    schema: Schema = {
        "description": description,
        "type": "object",
        "properties": {key.name: _key(key) for key in shape.keys if not key.later},
        "required": [key.name for key in shape.keys if key.required],
    }
    if not shape.open:
        schema["additionalProperties"] = False
    groups = [{"oneOf": [{"required": [name]} for name in group]} for group in shape.exactly_one]
    return schema | ({"allOf": groups} if groups else {})


def _key(key: Key) -> Schema:
    absent = f" Default: {key.absent}." if key.absent else ""
    default = {"default": plain_value(written_default(key))} if key.default else {}
    return {"description": f"{key.sentence}{absent}", **_any_of(options(key.takes), key.size), **default}


def _any_of(found: Iterable[Option], size: tuple[int, int] | None = None) -> Schema:
    """What a key takes now, as a schema."""
    words = [option.text for option in found if isinstance(option, Word) and not option.later]
    schemas = [_one(option, size) for option in found if not isinstance(option, Word) and not _is_later(option)]
    if words:
        schemas.insert(0, {"enum": words})
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _one(option: Bounds | Named | Items, size: tuple[int, int] | None) -> Schema:
    match option:
        case Named(name):
            return {"$ref": f"#/$defs/{name}"}
        case Bounds(low, high, is_whole):
            return {"type": "integer" if is_whole else "number", "minimum": whole(low), "maximum": whole(high)}
        case Items("map", item):
            sizes = {"minProperties": size[0], "maxProperties": size[1]} if size else {}
            return {"type": "object", "additionalProperties": _any_of(item), **sizes}
        case Items(_, item, or_one):
            sizes = {"minItems": size[0], "maxItems": size[1]} if size else {}
            if not or_one:
                return {"type": "array", "items": _any_of(item), **sizes}
            return {"anyOf": [_any_of(item), {"type": "array", "items": _any_of(item), "minItems": 1}]}


def _is_later(option: Option) -> bool:
    shape = keys.SHAPES.get(option.name) if isinstance(option, Named) else None
    return isinstance(shape, RecordShape) and shape.later

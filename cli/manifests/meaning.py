"""What the values of a rule file mean: two values that say the same have the same meaning, however they are written.

A default that is written out, `60m` for `1h`, one item for a list of one, blanks in an expression: none of them changes
what a rule does. The declared language says of each key what it takes, so no key is named here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from triggers.cel.syntax import parse
from triggers.cel.tree import SyntaxProblem
from triggers.language.declarations import (
    Bounds,
    ChoiceShape,
    Items,
    Key,
    Named,
    Option,
    RecordShape,
    ScalarShape,
    Word,
    options,
)
from triggers.language.keys import SHAPES
from triggers.measures import shapes

_PLACES = ("offset", "depth")
"""Where a node of an expression stands, which is not what it says."""


def meaning(value: Any, takes: Sequence[Option]) -> Any:
    """What a value says. What the language does not know stands for itself."""
    value = in_full(value, takes)
    option = fitting(value, takes)
    match option:
        case Items(kind="map", item=item) if isinstance(value, dict):
            return {name: meaning(each, item) for name, each in value.items()}
        case Items(item=item):
            return [meaning(each, item) for each in items_of(value)]
        case Named(name=name):
            shape = SHAPES[name]
            if isinstance(shape, RecordShape):
                return record_meaning(value, shape)
            return _scalar(name, value) if isinstance(shape, ScalarShape) else meaning(value, options(shape.takes))
    return value


def record_meaning(value: Mapping[str, Any], shape: RecordShape) -> dict[str, Any]:
    """What a mapping says, key by key. A key that is not written says its default."""
    found = {name: each for name, each in value.items() if name not in {key.name for key in shape.keys}}
    for key in shape.keys:
        written = value.get(key.name, default_of(key))
        if written is not None:
            found[key.name] = meaning(written, options(key.takes))
    return found


def default_of(key: Key) -> Any:
    """The value that a mapping without the key has; None where no value says it."""
    text = key.default
    if not text:
        return None
    if text in ("true", "false"):
        return text == "true"
    if any(isinstance(option, Bounds) for option in options(key.takes)):
        return int(text) if text.isdecimal() else float(text)
    return {} if text == "{}" else text.strip('"')


def fitting(value: Any, takes: Sequence[Option]) -> Option | None:
    """The option that a value is written as; choices are opened. None if it is none of them."""
    return next((found for found in _opened(value, takes) if _fits(value, found)), None)


def items_of(value: Any) -> list[Any]:
    """The items of a list, or the one that stands for a list of one."""
    return value if isinstance(value, list) else [value]


def in_full(value: Any, takes: Sequence[Option]) -> Any:
    """The mapping that a name is short for, as `send: welcome` is for `send: {template: welcome}`."""
    for option in takes if isinstance(value, str) else ():
        shape = SHAPES.get(option.name) if isinstance(option, Named) else None
        if isinstance(shape, ChoiceShape):
            first, *others = options(shape.takes)
            if first != Named("NAME"):
                value = in_full(value, (first, *others))
            else:
                record = next(SHAPES[each.name] for each in others if isinstance(each, Named))
                value = {record.keys[0].name: value} if isinstance(record, RecordShape) else value
    return value


def _opened(value: Any, takes: Sequence[Option]) -> Iterator[Option]:
    for option in takes:
        shape = SHAPES.get(option.name) if isinstance(option, Named) else None
        if isinstance(shape, ChoiceShape):
            yield from _opened(value, options(shape.takes))
        else:
            yield option


def _fits(value: Any, option: Option) -> bool:
    match option:
        case Items(kind="map"):
            return isinstance(value, dict)
        case Items(or_one=or_one):
            return isinstance(value, list) or or_one
        case Word(text=text):
            return isinstance(value, str) and value == text
        case Bounds():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Named(name=name):
            shape = SHAPES[name]
            if isinstance(shape, RecordShape):
                return isinstance(value, dict) and _has_keys_of(value, shape)
            return not isinstance(value, dict | list)
    return False


def _has_keys_of(value: Mapping[str, Any], shape: RecordShape) -> bool:
    names = {key.name for key in shape.keys}
    required = {key.name for key in shape.keys if key.required}
    return required <= value.keys() and (shape.open or value.keys() <= names)


def _scalar(name: str, value: Any) -> Any:
    try:
        match name:
            case "DURATION" | "WINDOW":
                return shapes.duration(str(value))
            case "PERCENT":
                return shapes.percent(str(value))
            case "WEEKDAY":
                return str(value)[:3]
            case "EXPR":
                return _tree(parse(str(value).lower() if isinstance(value, bool) else str(value)))
    except (shapes.ShapeError, SyntaxProblem):
        return value
    return value


def _tree(node: Any) -> Any:
    """An expression without the places of its parts."""
    if isinstance(node, tuple):
        return tuple(map(_tree, node))
    if not hasattr(node, "__dataclass_fields__"):
        return type(node).__name__, node
    return type(node).__name__, *(_tree(getattr(node, each.name)) for each in fields(node) if each.name not in _PLACES)

"""Whether the properties of an event are those that the catalogue describes. Pure.

A decoder made for the event reads what is as it should be, without making a value of it. Only where that fails are the
properties looked at one by one, to say what is wrong.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson
from msgspec import Meta, MsgspecError, Raw

from triggers.cel.time import parse_timestamp
from triggers.cel.values import EvaluationError

UNREADABLE = (MsgspecError, ValueError, TypeError, RecursionError)
"""What decoders raise for JSON that they do not read."""

_FAST: Mapping[str, Any] = {
    "text": str,
    "number": float,
    "boolean": bool,
    "time": Annotated[
        str, Meta(pattern=r"^[12]\d{3}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3])(:[0-5]\d){2}Z$")
    ],
    "list": list[Raw],
    "object": dict[str, Raw],
    "any": str | float | bool | list[Raw] | dict[str, Raw],
}
"""What a decoder takes at once. Other times may be right too."""


class FieldProblem(NamedTuple):
    """A field of an event and what is wrong with it. Holds no value."""

    field: str
    reason: str


class PropertyTypes:
    """The types of one event's properties. A property that is not described may have any value; null is absent."""

    def __init__(self, types: Mapping[str, str], required: frozenset[str]) -> None:
        self._types = types
        self._required = required
        self._decode = _decoder(types, required)

    def problems(self, properties: bytes | Raw) -> tuple[FieldProblem, ...]:
        """What is wrong, in the order of the catalogue. Raises one of UNREADABLE if this is no JSON."""
        if self._decode is not None:
            try:
                self._decode(properties)
            except UNREADABLE:
                pass
            else:
                return ()
        return tuple(self._found(orjson.loads(bytes(properties))))

    def _found(self, properties: Any) -> list[FieldProblem]:
        if not isinstance(properties, dict):
            return [FieldProblem("properties", "are not an object")]
        found = []
        for name, kind in self._types.items():
            value = properties.get(name)
            if value is None:
                if name in self._required:
                    found.append(FieldProblem(f"properties.{name}", "is missing"))
            elif not _IS[kind](value):
                found.append(FieldProblem(f"properties.{name}", f"is not {_WORDS[kind]}"))
        return found


def _decoder(types: Mapping[str, str], required: frozenset[str]) -> Callable[[bytes | Raw], Any] | None:
    """Reads properties that are right; None if msgspec has no decoder with these names."""
    if not types:
        return None
    names = {f"field_{number}": name for number, name in enumerate(types)}
    fields = [
        (field, _FAST[types[name]]) if name in required else (field, _FAST[types[name]] | None, None)
        for field, name in sorted(names.items(), key=lambda each: each[1] not in required)
    ]
    try:
        shape = msgspec.defstruct("Properties", fields, rename=names, gc=False)
    except ValueError:  # a name with a quote or a control character
        return None
    return msgspec.json.Decoder(shape).decode


def _is_time(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parse_timestamp(value)
    except EvaluationError:
        return False
    return True


_IS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "time": _is_time,
    "list": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "any": lambda _: True,
}
_WORDS = {
    "text": "a text",
    "number": "a number",
    "boolean": "true or false",
    "time": "a time with an offset, as 2026-05-01T10:00:00Z",
    "list": "a list",
    "object": "an object",
}

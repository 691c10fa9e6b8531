"""The declared language: what each key takes, its default, and what it means in a sentence.

Everything that knows the language reads it here: the loader its keys, defaults, words and bounds; the reference page
and the JSON Schema all of it.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from triggers.language.declarations import Key, RecordShape, Shape
from triggers.language.document_keys import KINDS as KINDS
from triggers.language.scalars import SCALARS
from triggers.language.shape_keys import SHAPES as _SHAPES

SHAPES: Mapping[str, Shape] = {**_SHAPES, **SCALARS}
"""Every shape that a key can take, by its name."""


KEYS_OF_KINDS: Mapping[str, frozenset[str]] = {
    kind: frozenset(key.name for key in shape.keys) for kind, shape in KINDS.items()
}
"""The keys of each document, by the key that it begins with."""


def record(name: str) -> RecordShape:
    """The mapping of a kind of document or of a shape."""
    found = KINDS[name] if name in KINDS else SHAPES[name]
    assert isinstance(found, RecordShape)
    return found


@lru_cache
def keys(*names: str, later: tuple[str, ...] = ()) -> tuple[Key, ...]:
    """The keys of one mapping, or of several that share a place, in order.

    The keys of a later mapping are later keys, and so are those in `later`. Of two keys with one name, the first
    mapping's counts.
    """
    found: dict[str, Key] = {}
    for shape in map(record, names):
        for key in shape.keys:
            found.setdefault(key.name, replace(key, later=key.later or shape.later or key.name in later))
    return tuple(found.values())


def names(*shapes: str) -> tuple[str, ...]:
    """The names of these keys, later ones left out."""
    return tuple(key.name for key in keys(*shapes) if not key.later)

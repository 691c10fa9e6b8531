"""What the language is described with: keys, and the shapes that they take.

What a key takes is written in a few signs: `NAME` (in capitals) is a shape, a word in small letters stands for itself,
`A | B` is either, `[A]` is one A or a list of them, `list A` only a list, `map A` names with an A each, and `0..100` a
whole number within bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a mapping. `next` is part of the language that no version runs yet."""

    name: str
    takes: str
    sentence: str
    default: str = ""
    required: bool = False
    next: bool = False


@dataclass(frozen=True, slots=True)
class ScalarShape:
    """A value on one line: its form in a few words, and what JSON Schema says of it."""

    sentence: str
    form: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RecordShape:
    """A mapping with these keys. Of each group in `exactly_one`, one key is written."""

    sentence: str
    keys: tuple[Key, ...]
    exactly_one: tuple[tuple[str, ...], ...] = ()
    next: bool = False


@dataclass(frozen=True, slots=True)
class ChoiceShape:
    """A shape that is one of several others, written as a key's `takes` is."""

    sentence: str
    takes: str


Shape = ScalarShape | RecordShape | ChoiceShape

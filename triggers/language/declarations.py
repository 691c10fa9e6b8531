"""What the language is declared with: keys, and the shapes that they take.

What a key takes is written in a few signs, which `options` reads: `NAME` (in capitals) is a shape, a word in small
letters stands for itself, `later WORD` for one that no version reads yet, `A | B` is either, `[A]` is one A or a list
of them, `list A` only a list, `map A` names with an A each, `0..100` a whole number within bounds, and
`number 0.5..2` any number within bounds.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a mapping. `later` is part of the language that no version runs yet."""

    name: str
    takes: str
    sentence: str
    default: str = ""
    """What a rule without the key means, as the rule would write it."""
    absent: str = ""
    """What a rule without the key means, in words, where no value says it."""
    size: tuple[int, int] | None = None
    """The fewest and the most items of a list or map."""
    required: bool = False
    later: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The words that it takes now."""
        return tuple(option.text for option in options(self.takes) if isinstance(option, Word) and not option.later)

    @property
    def later_words(self) -> tuple[str, ...]:
        """The words that a later version takes."""
        return tuple(option.text for option in options(self.takes) if isinstance(option, Word) and option.later)

    @property
    def most(self) -> int:
        """The most items of a list or map."""
        assert self.size is not None
        return self.size[1]

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest number that it takes, or that each value of a map may be."""
        [found] = [option for option in _flat(options(self.takes)) if isinstance(option, Bounds)]
        return found.low, found.high


@dataclass(frozen=True, slots=True)
class ScalarShape:
    """A value on one line: its form in a few words, and what JSON Schema says of it."""

    sentence: str
    form: str
    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RecordShape:
    """A mapping with these keys. Of each group in `exactly_one`, one key is written.

    `open` mappings take any other key as well.
    """

    sentence: str
    keys: tuple[Key, ...]
    exactly_one: tuple[tuple[str, ...], ...] = ()
    open: bool = False
    later: bool = False

    def key(self, name: str) -> Key:
        """The key of this name."""
        return next(key for key in self.keys if key.name == name)


@dataclass(frozen=True, slots=True)
class ChoiceShape:
    """A shape that is one of several others, written as a key's `takes` is."""

    sentence: str
    takes: str


Shape = ScalarShape | RecordShape | ChoiceShape


# what `takes` says ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Word:
    """A word that stands for itself."""

    text: str
    later: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """A number within bounds, both included."""

    low: float
    high: float
    whole: bool


@dataclass(frozen=True, slots=True)
class Named:
    """A declared shape."""

    name: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list or a map of what the options say; with `or_one`, a list or one of them."""

    kind: str
    item: tuple["Option", ...]
    or_one: bool = False


Option = Word | Bounds | Named | Items


def _flat(found: Iterable[Option]) -> Iterator[Option]:
    for option in found:
        yield from _flat(option.item) if isinstance(option, Items) else (option,)


@lru_cache
def options(takes: str) -> tuple[Option, ...]:
    """What a key takes, read from its signs."""
    if takes.startswith("[") and takes.endswith("]"):
        return (Items("list", options(takes[1:-1]), or_one=True),)
    return tuple(_option(part.strip()) for part in takes.split("|"))


def _option(text: str) -> Option:
    sign, _, rest = text.partition(" ")
    if text.startswith("["):
        return Items("list", options(text[1:-1]), or_one=True)
    if sign in ("list", "map"):
        return Items(sign, options(rest))
    if sign == "later":
        return Word(rest, later=True)
    if ".." in text:
        low, high = rest.split("..") if sign == "number" else text.split("..")
        return Bounds(float(low), float(high), whole=sign != "number")
    return Word(text) if text.islower() else Named(text)

"""Reading a mapping key by key, by its declared keys. Wrong keys and values become diagnostics, and reading goes on."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeVar

from schemas.wording import quoted
from triggers.language import values
from triggers.language.declarations import Key
from triggers.language.diagnostics import Report, SourceFile
from triggers.language.keys_of_other_tools import instead_of
from triggers.language.yaml_tree import MappingNode, Node, documents

T = TypeVar("T")
D = TypeVar("D")


class MappingReader:
    """One mapping. It reports unknown keys at once; a required key that was misspelt is not reported again."""

    def __init__(self, report: Report, node: Node, what: str, keys: Sequence[Key], example: str = "") -> None:
        if not isinstance(node, MappingNode):
            raise values.wrong(node, what, "a mapping of keys to values", example and f"as in {example}")
        self.report = report
        self.node = node
        self.what = what
        self._example = example
        self._keys = {key.name: key for key in keys}
        self._misspelt: set[str] = set()
        self.has_later_key = False
        """Whether it has a key that no version reads yet."""
        self.all_unknown = not any(key in self._keys for key in node.items)
        """Whether it has no known key: the unknown ones may stand for those that are missing."""
        for key in node.keys:
            self._check_key(key)

    def _check_key(self, name: str) -> None:
        place = self.node.keys[name].index
        if name not in self._keys:
            known = [key.name for key in self._keys.values() if not key.later]
            intended, hint = instead_of(self.what, name, known)
            self.report.add(place, "unknown-key", f"unknown key {quoted(name)} in {self.what}", hint)
            self._misspelt.add(intended)
        elif self._keys[name].later:
            message = f"`{name}` in {self.what} is not yet supported"
            self.report.add(place, "not-yet", message, "remove it for now")
            self.has_later_key = True

    def __contains__(self, key: str) -> bool:
        return key in self.node.items

    def misspelt(self, key: str) -> bool:
        """Whether an unknown key was reported as this one misspelt."""
        return key in self._misspelt

    def place(self, key: str) -> int:
        """The index of a key that is there."""
        return self.node.keys[key].index

    def declared_key(self, key: str) -> Key:
        """What the language declares of a key."""
        return self._keys[key]

    def optional(self, key: str, parse: Callable[[Node], T], default: D) -> T | D:
        """The key's value, or the default if it is missing or wrong (which is then reported)."""
        node = self.node.items.get(key)
        if node is None:
            return default
        return self.report.attempt(lambda: parse(node), default)

    def declared(self, key: str, parse: Callable[[Node], T]) -> T:
        """The key's value, or the declared default if it is missing or wrong."""
        return self.optional(key, parse, parse(written_default(self._keys[key])))

    def word(self, key: str) -> str:
        """One of the declared words."""
        declared = self._keys[key]
        return self.declared(key, lambda node: values.choice(node, key, declared.words, declared.later_words))

    def whole(self, key: str) -> int:
        """A whole number within the declared bounds."""
        return self.declared(key, lambda node: values.whole(node, key, *self._keys[key].bounds))

    def required(self, key: str, parse: Callable[[Node], T], default: D, example: str = "") -> T | D:
        """As `optional`, but reports a missing key, with an example, unless it was reported as misspelt."""
        if key not in self.node.items and not self.misspelt(key) and not (self.all_unknown and self._misspelt):
            shown = example or self._example
            hint = f"as in {shown}" if shown else ""
            self.report.add(self.node.index, "missing-key", f"missing key `{key}` in {self.what}", hint)
        return self.optional(key, parse, default)


@lru_cache
def written_default(key: Key) -> Node:
    """The key's default, as a rule would write it."""
    [node] = documents(Report(SourceFile(f"the default of {key.name}", key.default)))
    return node

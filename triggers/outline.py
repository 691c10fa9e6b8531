"""What documents a rule file holds: their kinds and names, their texts, and whether two say the same."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from triggers.language.diagnostics import Report, SourceFile
from triggers.language.keys import KEYS_OF_KINDS, KINDS
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, documents


@dataclass(frozen=True, slots=True)
class Outline:
    """One document of a rule file."""

    kind: str
    name: str
    line: int
    text: str
    values: Mapping[str, Any]
    """What it says, key by key, as plain data."""

    @property
    def digest(self) -> str:
        """The same for two documents that say the same, whatever their comments and layout."""
        return hashlib.blake2b(orjson.dumps(self.values, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def outline(source: SourceFile) -> list[Outline]:
    """The documents of a file in their order; what has no kind and name is left out."""
    nodes = [node for node in documents(Report(source), KEYS_OF_KINDS) if isinstance(node, MappingNode)]
    found = []
    for number, node in enumerate(nodes):
        end = nodes[number + 1].index if number + 1 < len(nodes) else len(source.text)
        kind = next(iter(node.items), "")
        name = node.items.get(kind)
        if kind in KINDS and isinstance(name, ScalarNode):
            line = source.text.count("\n", 0, node.index) + 1
            text = _without_end(source.text[node.index : end])
            found.append(Outline(kind, name.text, line, text, {key: _plain(item) for key, item in node.items.items()}))
    return found


def brand_folders(sources: Iterable[SourceFile]) -> frozenset[str]:
    """The folders of templates that the brands of rule files name."""
    brands = (each for source in sources if "brand:" in source.text for each in outline(source) if each.kind == "brand")
    named = (brand.values.get("templates") for brand in brands)
    return frozenset(folder for folder in named if isinstance(folder, str))


def _plain(node: Node) -> Any:
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, MappingNode):
        return {key: _plain(item) for key, item in node.items.items()}
    return [_plain(item) for item in node.items]


def _without_end(text: str) -> str:
    """A document's text without the line that parts it from the next, and what comments stand before that one."""
    lines = text.rstrip().splitlines()
    parted = next((number for number, line in enumerate(lines) if line.rstrip() == "---"), len(lines))
    return "\n".join(lines[:parted]).rstrip() + "\n"

"""Reads YAML text into a tree with positions. Everything ambiguous is refused: see `yaml_scalars`.

Built from libyaml's events, without recursion: aliases, anchors and tags are visible there, and neither an alias bomb
nor deep nesting does harm.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import yaml

from schemas.wording import quoted
from triggers.cel.characters import invisible, look_alike, named, retype
from triggers.language.diagnostics import Problem, Report
from triggers.language.yaml_scalars import MAX_WHOLE, Ambiguous, Value, offsets, resolve
from triggers.language.yaml_syntax import refuse_characters, report_syntax

MAX_FILE_CHARS = 1_000_000
MAX_DEPTH = 32
MAX_NODES = 30_000
MAX_DOCUMENTS = 5_000
"""Limits of one file: a thousand rules have about as many values; much more would take over a second."""

_SHOWN = 120
"""Characters of a line that a hint repeats."""
_JOINED = re.compile(r"([a-z_]+):(\w+)")


@dataclass(slots=True)
class ScalarNode:
    """One value. `text` is as written without quotes; `value` is what it means; `style` is its quoting."""

    index: int
    text: str
    value: Value
    written: str
    style: str | None

    def place_of(self, offset: int) -> int:
        """The index in the file of a character of `text`, through quoting and folding."""
        places = offsets(self.written, self.text, self.style)
        if offset < len(places):
            return self.index + places[offset]
        return self.index + (places[-1] + 1 if places else 0)


@dataclass(slots=True)
class SequenceNode:
    """A list of nodes."""

    index: int
    items: list["Node"] = field(default_factory=list)


@dataclass(slots=True)
class MappingNode:
    """Keys and their nodes, in the order written; a key written twice is here once."""

    index: int
    flow: bool
    keys: dict[str, ScalarNode] = field(default_factory=dict)
    items: dict[str, "Node"] = field(default_factory=dict)


Node = ScalarNode | SequenceNode | MappingNode


_NO_KINDS: Mapping[str, Collection[str]] = MappingProxyType({})


def documents(report: Report, kinds: Mapping[str, Collection[str]] = _NO_KINDS) -> list[Node]:
    """The file's documents. Every problem found is in `report`; what follows a syntax error is not read.

    `kinds` are keys that begin a document, each with the keys of such a document: one that stands where it is none of
    these begins a document whose `---` is missing.
    """
    text = report.source.text
    if len(text) > MAX_FILE_CHARS:
        report.add(0, "yaml-limit", f"the file has more than {MAX_FILE_CHARS} characters", "split it")
        return []
    if refuse_characters(report):
        return []
    builder = _Builder(report, kinds)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        report_syntax(report, error)
    except yaml.YAMLError as error:
        report.add(0, "yaml-syntax", str(error))
    except Problem as problem:
        report.add(problem.index, problem.code, problem.message, problem.hint)
    return builder.whole_documents()


class _Builder:
    """Puts events together; `_open` holds the collections that are not closed yet."""

    def __init__(self, report: Report, kinds: Mapping[str, Collection[str]]) -> None:
        self.report = report
        self._kinds = kinds
        self.documents: list[Node] = []
        self._open: list[SequenceNode | MappingNode] = []
        self._keys: list[ScalarNode | None] = []
        self._nodes = 0

    def whole_documents(self) -> list[Node]:
        """The documents that were read to their end."""
        return self.documents[:-1] if self._open else self.documents

    def take(self, event: yaml.Event) -> None:
        self._count(event)
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "yaml-anchor", f"the alias *{event.anchor} is not allowed", "write the value out")
            node = ScalarNode(_start(event), "", None, "", None)
            if self._expects_key():
                self._keys[-1] = node
            else:
                self._place(node)
        elif isinstance(event, yaml.ScalarEvent):
            self._check_node(event)
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._begin(event, MappingNode(_start(event), bool(event.flow_style)))
        elif isinstance(event, yaml.SequenceStartEvent):
            self._begin(event, SequenceNode(_start(event)))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()

    def _count(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.NodeEvent):
            self._nodes += 1
            if self._nodes > MAX_NODES:
                raise Problem(_start(event), "yaml-limit", f"the file has more than {MAX_NODES} values", "split it")
        elif isinstance(event, yaml.DocumentStartEvent):
            self._count_document(_start(event))

    def _count_document(self, index: int) -> None:
        if len(self.documents) >= MAX_DOCUMENTS:
            raise Problem(index, "yaml-limit", f"the file has more than {MAX_DOCUMENTS} documents", "split it")

    def _begin(self, event: yaml.NodeEvent, node: SequenceNode | MappingNode) -> None:
        self._check_node(event)
        if len(self._open) >= MAX_DEPTH:
            raise Problem(node.index, "yaml-limit", f"nested more than {MAX_DEPTH} deep", "flatten it")
        if self._expects_key():
            self._refuse_braces(node)
            self.report.add(node.index, "yaml-key", "a key must be text", "quote it")
            self._keys[-1] = ScalarNode(node.index, "", "", "", None)
            self._open.append(node)
            self._keys.append(None)
            return
        self._place(node)
        self._open.append(node)
        self._keys.append(None)

    def _refuse_braces(self, node: Node) -> None:
        """Raises Problem for a mapping as a key, which is how YAML reads `{{ … }}` of templates."""
        text = self.report.source.text
        if text[node.index - 1 : node.index + 1] == "{{":
            line = text[node.index - 1 : node.index + _SHOWN].partition("\n")[0]
            written = re.sub(r"\{\{([^{}]*)\}\}", lambda braces: braces[1].strip(" -"), line).strip()
            message = "`{{ … }}` belongs in a template, not in a rule file"
            raise Problem(node.index - 1, "yaml-syntax", message, f"an expression is CEL, without braces: {written}")

    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1], MappingNode) and self._keys[-1] is None

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        index = _start(event)
        written = self.report.source.text[index : event.end_mark.index if event.end_mark else index]
        node = ScalarNode(index, event.value, event.value, written, event.style or None)
        plain = not node.style or node.style == ":"
        if plain and not node.text.isascii():
            self._check_look_alikes(node, key=self._expects_key())
        if self._expects_key():
            self._key(node, plain)
            return
        if plain and not event.tag:
            self._resolve(node)
        self._place(node)

    def _check_look_alikes(self, node: ScalarNode, *, key: bool) -> None:
        """Refuses look-alikes in a key, and invisible characters around a value without quotes."""
        at = look_alike(node.text) if key else self._invisible_end(node.text)
        if at is not None:
            where = f"stands in the key {quoted(node.text)}" if key else "stands around a value without quotes"
            message = f"{named(node.text[at])} {where}"
            self.report.add(node.place_of(at), "yaml-text", message, retype(node.text[at]))
            self.report.silence(node.index)
            if key and at == 0:
                self._forgive_empty()

    def _forgive_empty(self) -> None:
        """Takes back that the key above has no value: a line that another blank indents looks as if it were one."""
        mapping = self._open[-1]
        assert isinstance(mapping, MappingNode)
        above = next(reversed(mapping.items), "")
        if getattr(mapping.items.get(above), "text", None) == "":
            self.report.withdraw(mapping.keys[above].index, "yaml-empty")

    @staticmethod
    def _invisible_end(text: str) -> int | None:
        return next((at for at in (0, len(text) - 1) if invisible(text[at])), None)

    def _key(self, node: ScalarNode, plain: bool) -> None:
        if node.text == "<<" and plain:
            self.report.add(node.index, "yaml-anchor", "the merge key << is not allowed", "write the values out")
        elif plain and node.text != "on":
            self._check_key(node)
        mapping = self._open[-1]
        assert isinstance(mapping, MappingNode)
        if self._begins_another(mapping, node):
            message = f"{quoted(node.text)} begins another document: missing line `---` before it"
            self.report.add(node.index, "yaml-document", message, "write --- on a line of its own above this one")
            self._count_document(node.index)
            self._open = [MappingNode(node.index, flow=False)]
            self.documents.append(self._open[0])
        elif node.text in mapping.keys:
            self.report.add(
                node.index, "yaml-duplicate-key", f"the key {quoted(node.text)} is written twice", "drop one of the two"
            )
        self._keys[-1] = node

    def _begins_another(self, mapping: MappingNode, key: ScalarNode) -> bool:
        """Whether a key at the margin can only begin a document, inside a document that has begun."""
        first = next(iter(mapping.keys), "")
        if len(self._open) > 1 or mapping.flow or not {key.text, first} <= self._kinds.keys():
            return False
        return key.text == first or key.text not in self._kinds[first]

    def _check_key(self, node: ScalarNode) -> None:
        if not node.text:
            self.report.add(node.index, "yaml-key", "missing key before the colon", "write it")
            return
        try:
            value = resolve(node.text)
        except Ambiguous as finding:
            self.report.add(node.index, finding.code, finding.message, finding.hint)
            return
        if not isinstance(value, str):
            self.report.add(node.index, "yaml-key", f"the key {quoted(node.text)} is not text", "quote it")

    def _resolve(self, node: ScalarNode) -> None:
        key = self._keys[-1] if self._keys else None
        if node.text == "":
            self._report_empty(node, key)
            node.value = None
        elif key is not None and key.text == "mode" and node.text == "off":
            return
        else:
            try:
                node.value = resolve(node.text)
            except Ambiguous as finding:
                self.report.add(node.index, finding.code, finding.message, finding.hint)
                self.report.silence(node.index, len(node.written))  # as an expression it would be wrong once more

    def _report_empty(self, node: ScalarNode, key: ScalarNode | None) -> None:
        parent = self._open[-1] if self._open else None
        self.report.silence(node.index)
        if isinstance(parent, MappingNode) and parent.flow and key is not None:
            hint = "write one, {} for no properties; an expression with a comma goes in single quotes or block style"
            if joined := _JOINED.fullmatch(key.text):
                hint = f"a blank after the colon, as in {joined[1]}: {joined[2]}"
            self.report.add(key.index, "yaml-empty", f"the key {quoted(key.text)} has no value", hint)
        elif key is not None:
            self.report.add(key.index, "yaml-empty", f"the key {quoted(key.text)} has no value", "write it, or drop it")
        else:
            self.report.add(node.index, "yaml-empty", "missing value", "write one, or drop the line")

    def _place(self, node: Node) -> None:
        if not self._open:
            self.documents.append(node)
            return
        parent = self._open[-1]
        if isinstance(parent, SequenceNode):
            parent.items.append(node)
            return
        key = self._keys[-1]
        self._keys[-1] = None
        if key is not None and key.text not in parent.items:
            parent.keys[key.text] = key
            parent.items[key.text] = node

    def _check_node(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if event.anchor is not None:
            self._refuse(event, "yaml-anchor", f"the anchor &{event.anchor} is not allowed", "write the value out")
        if tag is not None:
            hint = "an expression that begins with ! goes in single quotes"
            self._refuse(event, "yaml-tag", f"the tag {quoted(str(tag))} is not allowed", hint)

    def _refuse(self, event: yaml.NodeEvent, code: str, message: str, hint: str) -> None:
        self.report.add(_start(event), code, message, hint)


def _start(event: yaml.Event) -> int:
    return int(event.start_mark.index) if event.start_mark else 0


def plain_value(node: Node) -> object:
    """The node as ordinary JSON values; raises Problem for a number that JSON readers do not keep exactly."""
    if isinstance(node, ScalarNode):
        if node.value.__class__ is int and abs(int(str(node.value))) > MAX_WHOLE:
            hint = "quote it, where it is a name and not a number"
            raise Problem(node.index, "yaml-number", f"{quoted(node.text)} has more than 18 digits", hint)
        return node.value
    if isinstance(node, SequenceNode):
        return [plain_value(item) for item in node.items]
    return {key: plain_value(item) for key, item in node.items.items()}

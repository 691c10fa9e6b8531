"""The event catalogue: the events that a shop publishes, with their properties. Rules are checked against it, and HTTP
ingest enforces it.

A file of one document: `events: {NAME: {PROPERTY: TYPE}}`, where TYPE may be `{type: TYPE, required: true}`; `enforce`
says what ingest does with other events; `without_user` names the events that concern no user; `fields: {NAME: {PATH:
drop | hash}}` says what ingest takes out of an event before anybody else sees it. Every catalogue also has the events
that delivery reports.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.vocabulary import OUTCOME_EVENTS
from schemas.wording import nearest, quoted
from triggers.cel.types import EVENT
from triggers.language import values
from triggers.language.declarations import Key
from triggers.language.diagnostics import Problem, Report, SourceFile
from triggers.language.reader import MappingReader
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, documents

TYPES = ("text", "number", "boolean", "time", "list", "object", "any")
"""The types of properties; `time` is a text that `timestamp()` reads."""
EVERY_EVENT = "*"
_OUTCOME = {"trigger": "text", "step": "text", "occurrence": "text", "url": "text"}
_KEYS = (
    Key("events", "map PROPERTIES", "the events by name, each with its properties' types.", required=True),
    Key("enforce", "off | tag | reject", "what ingest does with an event that does not fit.", default="off"),
    Key("without_user", "[NAME]", "the events that concern no user, which ingest takes without one.", absent="none"),
    Key("fields", "map FIELDS", "what ingest drops or hashes, by event or `*`, and path.", absent="nothing"),
)
_PROPERTY_KEYS = (
    Key("type", " | ".join(TYPES), "its type.", required=True),
    Key("required", "true | false", "whether each event has it.", default="false"),
)
_ACTIONS = ("drop", "hash")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Events by name, each with its properties' types."""

    events: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    required: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By event, the properties that each one has."""
    enforce: str = "off"
    """`off`, `tag` or `reject`. Of several files, the last one's."""
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By event or EVERY_EVENT, paths with `drop` or `hash`."""
    without_user: frozenset[str] = frozenset()
    """The events that concern no user, such as `restocked`."""

    def types_of(self, events: Iterable[str], name: str) -> set[str]:
        """The types that a property has in these events; empty if none has it."""
        if name in EVENT:
            return {"time" if name == "time" else "any" if name == "properties" else "text"}
        return {self.events[event][name] for event in events if name in self.events.get(event, {})}


def read_catalogue(files: Sequence[SourceFile]) -> tuple[Catalogue | None, list[Report]]:
    """The events of all files together, or None without a file; problems are in the reports."""
    if not files:
        return None, []
    reports = [Report(source) for source in files]
    reader = _CatalogueReader()
    for report in reports:
        for node in documents(report):
            report.attempt(lambda node=node, r=report: reader.document(r, node), None)  # type: ignore[misc]
    return reader.catalogue(), reports


class _CatalogueReader:
    def __init__(self) -> None:
        self._events: dict[str, Mapping[str, str]] = dict.fromkeys(sorted(OUTCOME_EVENTS), _OUTCOME)
        self._required: dict[str, frozenset[str]] = {}
        self._places: dict[str, str] = {}
        self._enforce = "off"
        self._fields: dict[str, dict[str, str]] = {}
        self._without_user: set[str] = set()
        self._named: list[tuple[Report, ScalarNode]] = []
        """The events that are named beside `events`, and may be described in a later file."""

    def document(self, report: Report, node: Node) -> None:
        """Reads one file."""
        mapping = MappingReader(report, node, "an event catalogue", _KEYS)
        for name, place, value in mapping.required("events", lambda n: values.mapping_items(n, "events"), []):
            self._event(report, name, place, value)
        self._enforce = mapping.word("enforce")
        for name, place, value in mapping.optional("fields", lambda n: values.mapping_items(n, "fields"), []):
            self._named.append((report, place))
            self._fields.setdefault(name, {}).update(field_rules(report, value))
        for place in mapping.optional("without_user", lambda n: values.several(report, n, _event_place), ()):
            self._named.append((report, place))
            self._without_user.add(place.text)

    def catalogue(self) -> Catalogue:
        """What was read."""
        for report, place in self._named:
            name = place.text
            if name != EVERY_EVENT and name not in self._events:
                message = f"event {quoted(name)} is not in the catalogue"
                report.add(place.index, "unknown-event", message, nearest(name, (*self._events, EVERY_EVENT)))
        return Catalogue(self._events, self._required, self._enforce, self._fields, frozenset(self._without_user))

    def _event(self, report: Report, name: str, place: ScalarNode, value: Node) -> None:
        report.attempt(lambda: values.name(place, "an event's name"), "")
        items = report.attempt(lambda: values.mapping_items(value, "an event"), [])
        described = {key: report.attempt(lambda n=kind: _property(report, n), ("any", False)) for key, _, kind in items}  # type: ignore[misc]
        types = {key: kind for key, (kind, _) in described.items()}
        required = frozenset(key for key, (_, needed) in described.items() if needed)
        if name in self._places and (types, required) != (self._events[name], self._required[name]):
            message = f"the event {quoted(name)} has other properties at {self._places[name]}"
            report.add(place.index, "duplicate-event", message, "describe it once, with all that it carries")
        here = report.at(place.index, "", "")
        self._events[name], self._required[name] = types, required
        self._places[name] = f"{here.path}:{here.line}"


def _event_place(node: Node) -> ScalarNode:
    values.name(node, "an event's name")
    assert isinstance(node, ScalarNode)
    return node


def _property(report: Report, node: Node) -> tuple[str, bool]:
    """A property's type, and whether each event has it."""
    if not isinstance(node, MappingNode):
        return values.choice(node, "type", TYPES), False
    mapping = MappingReader(report, node, "a property", _PROPERTY_KEYS, "{type: text, required: true}")
    kind = mapping.required("type", lambda n: values.choice(n, "type", TYPES), "any")
    return kind, mapping.optional("required", lambda n: values.flag(n, "required"), False)


def field_rules(report: Report, node: Node) -> dict[str, str]:
    """What becomes of the fields of an event: `drop` or `hash`, by path."""
    found = {}
    for path, place, action in report.attempt(lambda: values.mapping_items(node, "an event's fields"), []):
        report.attempt(lambda place=place: _path(place), "")  # type: ignore[misc]
        found[path] = report.attempt(lambda n=action: values.choice(n, "action", _ACTIONS), "drop")  # type: ignore[misc]
    return found


def _path(node: ScalarNode) -> str:
    path = values.text(node, "a path")
    if not all(path.split(".")):
        hint = "write the names of properties from the outer to the inner one, as in card.number"
        raise Problem(node.index, "invalid-name", f"{quoted(path)} is no path", hint)
    return path

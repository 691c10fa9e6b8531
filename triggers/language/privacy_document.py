"""The privacy file of product teams: for how long what was decided by events of a type is kept in full, and what ingest
takes out of them.

A file of one document: `keep: {NAME: DURATION}` and `fields: {NAME: {PATH: drop | hash}}`, where NAME is an event or
`*`. Its field rules hold beside those of the event catalogue, which are the same.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas.wording import nearest, quoted
from triggers.language import values
from triggers.language.catalogue_document import EVERY_EVENT, Catalogue, field_rules
from triggers.language.declarations import Key
from triggers.language.diagnostics import Report, SourceFile
from triggers.language.reader import MappingReader
from triggers.language.yaml_tree import Node, ScalarNode, documents

_KEYS = (
    Key("keep", "map DURATION", "for how long decisions keep their inputs, by event or `*`.", absent="for ever"),
    Key("fields", "map FIELDS", "what ingest drops or hashes, by event or `*`, and path.", absent="nothing"),
)


@dataclass(frozen=True, slots=True)
class PrivacyRules:
    """What is kept of events for how long, in milliseconds, and what is taken out of them; by event or EVERY_EVENT."""

    keep: Mapping[str, int] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def kept_ms(self, events: Collection[str]) -> int | None:
        """For how long a decision keeps its inputs that events of these types may have begun; None: for ever.

        The shortest time counts.
        """
        found = [self.keep[name] for name in (*events, EVERY_EVENT) if name in self.keep]
        return min(found, default=None)

    def added_to(self, catalogue: Catalogue) -> Catalogue:
        """The catalogue with these field rules beside its own: what either drops is dropped."""
        fields = {name: dict(rules) for name, rules in catalogue.fields.items()}
        for name, rules in self.fields.items():
            known = fields.setdefault(name, {})
            known |= {path: rule for path, rule in rules.items() if known.get(path) != "drop"}
        return replace(catalogue, fields=fields)


def read_privacy(files: Sequence[SourceFile], catalogue: Catalogue | None = None) -> tuple[PrivacyRules, list[Report]]:
    """The rules of all files together. With a catalogue, each event must be in it; problems are in the reports."""
    reports = [Report(source) for source in files]
    keep: dict[str, int] = {}
    fields: dict[str, dict[str, str]] = {}
    for report in reports:
        reader = _PrivacyReader(report, catalogue, keep, fields)
        for node in documents(report):
            report.attempt(lambda node=node, reader=reader: reader.document(node), None)  # type: ignore[misc]
    return PrivacyRules(keep, fields), reports


@dataclass(frozen=True, slots=True)
class _PrivacyReader:
    report: Report
    catalogue: Catalogue | None
    keep: dict[str, int]
    fields: dict[str, dict[str, str]]

    def document(self, node: Node) -> None:
        mapping = MappingReader(self.report, node, "a privacy file", _KEYS)
        for name, place, value in mapping.optional("keep", lambda n: values.mapping_items(n, "keep"), []):
            self._event(place)
            kept = self.report.attempt(lambda n=value: values.duration(n, "keep"), None)  # type: ignore[misc]
            if kept is not None:
                self.keep[name] = kept
        for name, place, value in mapping.optional("fields", lambda n: values.mapping_items(n, "fields"), []):
            self._event(place)
            self.fields.setdefault(name, {}).update(field_rules(self.report, value))

    def _event(self, place: ScalarNode) -> None:
        known = None if self.catalogue is None else self.catalogue.events
        if known is not None and place.text != EVERY_EVENT and place.text not in known:
            message = f"event {quoted(place.text)} is not in the catalogue"
            self.report.add(place.index, "unknown-event", message, nearest(place.text, (*known, EVERY_EVENT)))

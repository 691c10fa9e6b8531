"""The event catalogue at the door: what ingest does with events that do not fit, and what it takes out of events."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from msgspec import Raw

from schemas.errors import UserError
from triggers.language.catalogue_document import EVERY_EVENT, Catalogue, read_catalogue
from triggers.language.diagnostics import Report, SourceFile
from triggers.language.privacy_document import read_privacy
from web.ingest.field_rules import FieldRules, hash_key
from web.ingest.property_types import UNREADABLE, FieldProblem, PropertyTypes

TAGS = "catalogue_problems"
"""The member of `context` that lists what does not fit, where the catalogue says `enforce: tag`."""
IN_CONTEXT = "context."
"""A path of field rules that begins so is also one of the event's context."""
_UNKNOWN = (FieldProblem("event", "is not in the catalogue"),)
_UNREADABLE = FieldProblem("properties", "cannot be read")
_NOTHING = b"{}"


class InvalidCatalogue(UserError):
    """The catalogue cannot be used; the message says where it is wrong."""


class Applied(NamedTuple):
    """An event's properties and context as they go on, or why the event does not."""

    properties: bytes | Raw
    context: bytes | Raw
    tags: tuple[str, ...] = ()
    """What does not fit, for the member TAGS of the context."""
    refusal: FieldProblem | None = None

    @property
    def note(self) -> bytes:
        """The tags as a member of a JSON object; empty without any."""
        return b'"%s":%s' % (TAGS.encode(), orjson.dumps(self.tags)) if self.tags else b""


class EnforcedCatalogue:
    """What is to be done with each type of event, made ready once. `secret` is the key of hashes."""

    def __init__(self, catalogue: Catalogue, secret: str) -> None:
        key, rules = hash_key(secret), catalogue.fields
        everywhere = rules.get(EVERY_EVENT, {})
        self._plans = {
            name: _plan(catalogue, name, _joined(everywhere, rules.get(name, {})), key)
            for name in {*catalogue.events, *rules}
        }
        self._without_user = catalogue.without_user
        self._of_unknown = _plan(catalogue, None, everywhere, key)

    def apply(self, event_type: str, properties: bytes | Raw, context: bytes | Raw = _NOTHING) -> Applied | None:
        """What becomes of an event with these JSON texts; None if it goes on as it is."""
        plan = self._plans.get(event_type, self._of_unknown)
        return None if plan is None else plan.apply(properties, context)

    def may_lack_user(self, event_type: str) -> bool:
        """Whether the catalogue says that the event concerns no user."""
        return event_type in self._without_user


class _Plan(NamedTuple):
    """What is to be done with events of one type."""

    types: PropertyTypes | None
    """None if the catalogue demands nothing of it."""
    is_unknown: bool
    rejects: bool
    of_properties: FieldRules
    of_context: FieldRules

    def apply(self, properties: bytes | Raw, context: bytes | Raw) -> Applied | None:
        try:
            problems = _UNKNOWN if self.is_unknown else () if self.types is None else self.types.problems(properties)
            if problems and self.rejects:
                return Applied(_NOTHING, _NOTHING, refusal=problems[0])
            if self.of_properties:
                properties = _changed(self.of_properties, properties)
            elif not problems:
                return None
            if self.of_context:
                context = _changed(self.of_context, context)
        except UNREADABLE:
            return Applied(_NOTHING, _NOTHING, refusal=_UNREADABLE)
        return Applied(properties, context, tuple(f"{field} {reason}" for field, reason in problems))


def load_catalogue(path: Path | None, secret: str | None, privacy: Path | None = None) -> EnforcedCatalogue:
    """The catalogue in a file, with the field rules of a privacy file. Raises InvalidCatalogue; `ebbtide check` reports
    every mistake."""
    catalogue, reports = read_catalogue([] if path is None else [_source(path, "EBBTIDE_EVENTS_CATALOGUE")])
    _require_right("event catalogue", reports)
    rules, reports = read_privacy([] if privacy is None else [_source(privacy, "EBBTIDE_PRIVACY_RULES")], catalogue)
    _require_right("privacy file", reports)
    whole = rules.added_to(catalogue or Catalogue())
    if secret is None and any("hash" in rules.values() for rules in whole.fields.values()):
        named = " and ".join(str(each) for each in (path, privacy) if each is not None)
        raise InvalidCatalogue(
            f"{named} hashes fields: set EBBTIDE_FIELD_HASH_KEY to a secret of 16 characters or more"
        )
    return EnforcedCatalogue(whole, secret or "")


def _source(path: Path, variable: str) -> SourceFile:
    try:
        return SourceFile(str(path), path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidCatalogue(f"{path}: {error}; {variable} names it") from None


def _require_right(what: str, reports: Sequence[Report]) -> None:
    for found in (each for report in reports for each in report.diagnostics if not each.is_warning):
        raise InvalidCatalogue(f"the {what} does not load: {found}; `ebbtide check` shows every problem")


def _plan(catalogue: Catalogue, name: str | None, rules: Mapping[str, str], key: bytes) -> _Plan | None:
    """What is to be done with events of this name, or of unknown ones; None if nothing is."""
    enforced = catalogue.enforce != "off"
    types = None
    if enforced and name is not None and catalogue.events.get(name):
        types = PropertyTypes(catalogue.events[name], catalogue.required.get(name, frozenset()))
    of_context = {path.removeprefix(IN_CONTEXT): rule for path, rule in rules.items() if path.startswith(IN_CONTEXT)}
    is_unknown = enforced and name not in catalogue.events
    if types is None and not is_unknown and not rules:
        return None
    return _Plan(types, is_unknown, catalogue.enforce == "reject", FieldRules(rules, key), FieldRules(of_context, key))


def _joined(everywhere: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The rules of every event and those of one: what either drops is dropped."""
    joined = {**everywhere, **own}
    return {path: "drop" if "drop" in (everywhere.get(path), own.get(path)) else rule for path, rule in joined.items()}


def _changed(rules: FieldRules, text: bytes | Raw) -> bytes:
    """The JSON text without what the rules take out: always written anew, since a name may stand in it twice."""
    value: Any = orjson.loads(bytes(text))
    rules.apply(value)
    return orjson.dumps(value)

"""All that is kept of a person, read from each place where it stands."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from cli.environment import Environment
from cli.operations.control import running_rules
from cli.privacy import topic_records
from cli.privacy.people import PersonStores, find_person
from cli.privacy.state_view import state_view
from cli.step_printer import ProgressStep, StepPrinter
from infra.postgres.personal_tables import PersonKeys, rows_of
from schemas.topics import BROADCASTS, COMMANDS, DECISIONS, EVENTS, OUTCOMES, PROFILES
from senders import personal_tables as of_senders
from senders.policy.recipients import AddressHasher
from streams.decisions.evaluate import state_changelog
from streams.settings import StreamSettings
from triggers.rules.encoding import UnknownFormat
from web import personal_tables as of_web
from web.consent.proofs import prove
from web.profiles.profile_state import ProfileState, decode
from web.profiles.user_page import described


class ExportSection(NamedTuple):
    """A part of an export: its title, and what it has, for the person who reads it."""

    title: str
    about: str


SECTIONS: Mapping[str, ExportSection] = {
    "profile": ExportSection("Profile", "Address, language, time zone and attributes, with their times and sources."),
    "consent": ExportSection("Consent", "For each purpose of mails: allowed or not, since when, and how it was said."),
    "events": ExportSection("Events", "What the person did, as shops and apps reported it."),
    "state": ExportSection("State of rules", "What rules have counted, and what they wait for."),
    "decisions": ExportSection("Decisions", "Each time a rule decided to send or not to send, and why."),
    "mails": ExportSection("Mails", "Each message that was to be sent, and what became of it."),
    "engagement": ExportSection("Reactions", "Answers of mail servers, opens, clicks, complaints and unsubscriptions."),
    "suppressions": ExportSection("Suppressions", "Addresses that get no mail. Hashes stand for the addresses."),
    "confirmations": ExportSection("Confirmations", "Changes that the person confirms by a link in a mail."),
    "links": ExportSection("Visits", "Visits without a login that were linked to the person."),
    "imports": ExportSection("Imports", "Files from which values of the profile came."),
    "dead_letters": ExportSection("Unreadable records", "Records about the person that could not be read."),
}
"""The parts of an export in their order."""
_TOPICS = {
    PROFILES.name: "profile",
    EVENTS.name: "events",
    DECISIONS.name: "decisions",
    COMMANDS.name: "mails",
    OUTCOMES.name: "engagement",
}


@dataclass(frozen=True, slots=True)
class PersonExport:
    """What is kept of a person: by section, the places where it stands, each with what it holds."""

    user_id: str
    exported_at: datetime
    sections: Mapping[str, Mapping[str, Any]]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the person."""
        return not any(self.sections.values())

    def json(self) -> bytes:
        """The export as JSON. Keyed hashes and identifiers stand in hexadecimal."""
        return orjson.dumps(self.values(), option=orjson.OPT_INDENT_2) + b"\n"

    def values(self) -> dict[str, Any]:
        """The export as JSON values."""
        return {
            "user_id": self.user_id,
            "exported_at": self.exported_at.isoformat(),
            **{name: plain(places) for name, places in self.sections.items()},
        }


def export_person(
    environment: Environment, stores: PersonStores, user_id: str, now: datetime, printer: StepPrinter
) -> PersonExport:
    """Reads every place. A topic is read in the partitions of the person's ids only."""
    person = find_person(stores, AddressHasher(environment.suppression_key.encode()), user_id)
    sections: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    with printer.step("tables"):
        for section, place, rows in _rows(stores, person):
            sections[section][place] = rows
        _describe_profile(stores, user_id, person, sections)
        if (proof := prove(stores.ledger, user_id)) is not None:
            sections["consent"]["ledger of consent"] = proof.as_json()
    for topic, section in _TOPICS.items():
        with printer.step(f"topic {topic}") as step:
            if found := _records(environment.kafka, topic, person, step):
                sections[section][f"topic {topic}"] = found
    with printer.step(f"topic {BROADCASTS.name}") as step:
        if met := [each.json() for each in topic_records.broadcasts_of(environment.kafka, person.ids, _told(step))]:
            sections["events"][f"topic {BROADCASTS.name}"] = met
    with printer.step("state of rules"):
        if state := read_state(environment, user_id, now):
            sections["state"]["stream workers"] = state
    with printer.step("dead letters") as step:
        if letters := _dead_letters(environment.kafka, person, step):
            sections["dead_letters"]["topic dead-letters"] = letters
    return PersonExport(user_id, now, sections)


def read_state(environment: Environment, user_id: str, now: datetime) -> dict[str, Any] | None:
    """The user's state in the changelog of stream workers; None without one."""
    changelog = state_changelog(StreamSettings().streams_group)
    records = [*topic_records.records_of(environment.kafka, changelog, [user_id])]
    if not records or records[-1].value is None:
        return None
    rules = running_rules(environment.kafka)
    try:
        return state_view(user_id, records[-1].value, {} if rules is None else rules.scores, now)
    except UnknownFormat as error:
        return {"unreadable": str(error)}


def plain(value: Any) -> Any:
    """The value as JSON can write it: bytes that hold JSON as that, other bytes in hexadecimal."""
    match value:
        case bytes() | memoryview():
            raw = bytes(value)
            return topic_records.content(raw) if raw.startswith(b"{") else raw.hex()
        case dict():
            return {str(name): plain(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(each) for each in value]
        case str() | int() | float() | bool() | None:
            return value
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def _rows(stores: PersonStores, person: PersonKeys) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    of_ledger = [each for each in (*of_web.TABLES, *of_senders.LEDGER) if each is not of_web.PROFILES]
    for connection, tables in ((stores.ledger, of_ledger), (stores.timescale, of_senders.HYPERTABLES)):
        for table in tables:
            if rows := rows_of(connection, table, person):
                yield table.section, f"table {table.name}", rows


def _describe_profile(
    stores: PersonStores, user_id: str, person: PersonKeys, sections: dict[str, dict[str, Any]]
) -> None:
    """The profile store's row: each value with its time and source, and consent with its proof."""
    rows = [row for row in rows_of(stores.ledger, of_web.PROFILES, person) if row["user_id"] == user_id]
    if not rows:
        return
    state = decode(orjson.dumps(rows[0]["state"]).decode())
    profile = dict(described(user_id, state, list(person.ids[1:])))
    if consent := profile.pop("consent"):
        sections["consent"]["profile store"] = consent
    sections["profile"]["profile store"] = profile
    if imports := of_web.imports_from(stores.ledger, _sources(state)):
        sections["imports"]["table profile_imports"] = imports


def _sources(state: ProfileState) -> set[str]:
    return {stamp.source for stamps in (state.values, state.attributes, state.consent) for stamp in stamps.values()}


def _records(kafka: str, topic: str, person: PersonKeys, step: ProgressStep) -> list[dict[str, Any]]:
    return [record.json() for record in topic_records.records_of(kafka, topic, person.ids, _told(step))]


def _dead_letters(kafka: str, person: PersonKeys, step: ProgressStep) -> list[dict[str, Any]]:
    letters = topic_records.dead_letters_of(kafka, person.ids, _told(step))
    return [
        letter.model_dump(mode="json", exclude={"key", "value"})
        | {"record": None if (raw := letter.original_value()) is None else topic_records.content(raw)}
        for letter in letters
    ]


def _told(step: ProgressStep) -> Callable[[int], None]:
    return lambda number: step.at(number, f"{number:,} records read")

"""Schedules, dates and sequences that begin triggers, with the ids by which states store them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.zones import VERSION
from triggers.measures.shapes import Schedule
from triggers.rules.rule import Anniversary, Sequence, Trigger


@dataclass(frozen=True, slots=True)
class ClockRule:
    """One trigger's schedule or date. Its id never equals that of a crossing, even after an edit."""

    id: str
    trigger: Trigger
    source: Schedule | Anniversary


@dataclass(frozen=True, slots=True)
class SequenceRule:
    """One trigger's sequence. Its id changes with its content, because links of other patterns have no meaning here."""

    id: str
    trigger: Trigger
    sequence: Sequence


def sequence_rule(name: str, trigger: Trigger, sequence: Sequence) -> SequenceRule:
    """The sequence with its id."""
    patterns = [[each.types, each.where and each.where.text] for each in sequence.patterns]
    return SequenceRule(f"{name}/{digest([patterns, sequence.within_ms, sequence.same])}", trigger, sequence)


def plan_version(rules: Iterable[ClockRule], triggers: Iterable[Trigger]) -> str:
    """A digest of these schedules and dates, of the zone data, and of the texts of the triggers that running
    occurrences follow; empty if there are neither. With another version, a state is brought up to date."""
    sources = [[each.id, *_content(each.source)] for each in rules]
    sources += sorted([each.name, each.rule_hash] for each in triggers if each.follows)
    return digest([VERSION, *sources]) if sources else ""


def _content(source: Schedule | Anniversary) -> list[Any]:
    if isinstance(source, Schedule):
        return [source.at, source.weekdays and sorted(source.weekdays), source.month_day, source.zone]
    return [source.date.text, source.offset_ms, source.at, source.yearly, source.zone]


def digest(content: list[Any], size: int = 6) -> str:
    """A digest of JSON values in twice `size` characters."""
    return hashlib.blake2b(orjson.dumps(content), digest_size=size).hexdigest()

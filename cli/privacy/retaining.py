"""Takes from old decisions what they looked at, as the privacy file says."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import Connection

from cli.text_files import read_text
from schemas.errors import UserError
from senders.personal_tables import forget_content
from triggers.language.diagnostics import SourceFile
from triggers.language.privacy_document import PrivacyRules, read_privacy
from triggers.rules.rule import Pattern, Trigger
from triggers.rules.ruleset import RuleSet


class InvalidPrivacyFile(UserError):
    """The privacy file does not load."""


def privacy_rules(path: Path) -> PrivacyRules:
    """The rules in a file; raises InvalidPrivacyFile with the first mistake."""
    rules, reports = read_privacy([SourceFile(str(path), read_text(path))])
    for found in (each for report in reports for each in report.diagnostics if not each.is_warning):
        raise InvalidPrivacyFile(f"{found}; `ebbtide check {path}` shows every problem")
    return rules


def kept_ms(privacy: PrivacyRules, rules: RuleSet | None, decided: Collection[str]) -> dict[str, int]:
    """By trigger, for how long its decisions keep what they looked at; triggers that keep it for ever are left out.

    Of a trigger that decided before and does not run any more nobody knows the events: only the file's `*` counts.
    """
    running = {} if rules is None else rules.triggers
    found = {name: privacy.kept_ms(_entry_types(trigger)) for name, trigger in running.items()}
    found |= {name: privacy.kept_ms(()) for name in decided if name not in running}
    return {name: ms for name, ms in found.items() if ms is not None}


def decided_triggers(timescale: Connection[Any]) -> list[str]:
    """The triggers of all decisions that are kept."""
    return [name for (name,) in timescale.execute("SELECT DISTINCT trigger FROM decisions ORDER BY trigger")]


def forget(timescale: Connection[Any], kept: Mapping[str, int], now: datetime) -> dict[str, int]:
    """Take it from each trigger's older decisions; returns from how many, by trigger."""
    return {
        trigger: forget_content(timescale, trigger, now - timedelta(milliseconds=ms)) for trigger, ms in kept.items()
    }


def _entry_types(trigger: Trigger) -> list[str]:
    return [name for source in trigger.sources if isinstance(source, Pattern) for name in source.types]

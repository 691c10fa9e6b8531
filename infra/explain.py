"""`ebbtide explain`: a user's last decisions of a rule in plain words, and whether each follows from what it stored."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from infra.event_log import BadLog
from infra.gate_words import gate_words, headline
from schemas.codec import DecodeError, decode
from schemas.decisions import Decision
from triggers.recomputed import differences

_QUERY = """
SELECT id, trigger, rule_hash, user_id, occurrence, step, outcome, reason, gates, event_ids, inputs,
       time AS decided_at, command_id, repeated
FROM decisions
WHERE user_id = %(user)s AND (%(trigger)s::text IS NULL OR trigger = %(trigger)s)
ORDER BY time DESC, id LIMIT %(last)s
"""


class NothingRecorded(RuntimeError):
    """There is no table of decisions to look into."""


@dataclass(frozen=True, slots=True)
class Explained:
    """One decision, and what of it does not follow from what it stored."""

    decision: Decision
    differs: list[str]


def from_database(url: str, user: str, trigger: str | None, last: int) -> list[Explained]:
    """The user's last decisions in the hypertable, oldest first; raises NothingRecorded where that is missing."""
    import psycopg
    from psycopg.rows import dict_row

    try:
        with psycopg.connect(url, row_factory=dict_row) as connection:
            rows = connection.execute(_QUERY, {"user": user, "trigger": trigger, "last": last}).fetchall()
    except psycopg.errors.UndefinedTable:
        raise NothingRecorded("the database has no decisions yet; `ebbtide migrate` makes their table") from None
    return _explained([Decision.model_validate(row) for row in reversed(rows)])


def from_file(file: Path, user: str, trigger: str | None, last: int) -> list[Explained]:
    """The user's last decisions in a file of JSON lines, oldest first; raises BadLog with file and line.

    What `ebbtide backtest --json` prints is such a file, its summary passed over.
    """
    found = [d for d in _decisions(file) if d.user_id == user and trigger in (None, d.trigger)]
    return _explained(sorted(found, key=lambda each: (each.decided_at, each.id))[-last:])


def _decisions(file: Path) -> Iterator[Decision]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.startswith(b'{"summary":'):
                continue
            try:
                yield decode(Decision, line)
            except DecodeError as error:
                raise BadLog(f"{file}:{number}: not a decision: {error.detail}") from None


def _explained(decisions: list[Decision]) -> list[Explained]:
    return [Explained(each, differences(each)) for each in decisions]


def show(console: Console, explained: list[Explained]) -> None:
    """Prints each decision: what it did and why, each gate's answer, and the recomputation."""
    for each in explained:
        decision = each.decision
        console.print(headline(decision), markup=False, soft_wrap=True, style="bold")
        for line in _about(decision):
            console.print(f"  {line}", style="dim", markup=False, soft_wrap=True)
        for answer in decision.gates:
            mark = "[green]✓[/]" if answer.passed else "[red]✗[/]"
            console.print(f"  {mark} {answer.gate:<12}", end="")
            console.print(gate_words(answer), markup=False, soft_wrap=True)
        _show_recomputed(console, each)


def _about(decision: Decision) -> Iterator[str]:
    yield f"occurrence {decision.occurrence}, begun by {', '.join(decision.event_ids) or 'no event'}"
    told = {key: value for key, value in decision.inputs.items() if key not in ("due", "cause", "path")}
    if told:
        yield ", ".join(f"{key} {_value(value)}" for key, value in told.items())
    if decision.command_id:
        yield f"command {decision.command_id}"
    if decision.repeated:
        yield f"and {decision.repeated} more like it within the hour"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {item}" for key, item in value.items())
    return str(value) or "none"


def _show_recomputed(console: Console, each: Explained) -> None:
    if not each.decision.gates:
        console.print("  no gate was asked: nothing to compute again", style="dim")
    elif not each.differs:
        console.print("  recomputed: the same", style="dim")
    for text in each.differs:
        console.print(f"  recomputed: differs: {text}", style="red", markup=False, soft_wrap=True)
    console.print()


def as_json(explained: list[Explained]) -> list[dict[str, Any]]:
    """The decisions as they were stored, with what differs."""
    return [
        {**each.decision.model_dump(mode="json", exclude_none=True), "recomputed": each.differs or "the same"}
        for each in explained
    ]

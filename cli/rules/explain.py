"""`ebbtide explain`: a user's last decisions in words, and whether each follows from its stored values."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from cli.rules.decision_words import headline
from cli.rules.delivery_answers import DecidedSend, Delivery, delivery_lines, read_deliveries, read_sends
from cli.rules.log_blocks import BadLog
from cli.text_files import opened, without_mark
from infra.postgres.migrate import CONNECT_S
from schemas.codec import DecodeError, decode
from schemas.decisions import Decision
from schemas.errors import UserError
from triggers.cases.verification import Verification, verify
from triggers.engine.gates.stored import time_words
from triggers.engine.gates.table import gate_words

_QUERY = """
SELECT id, trigger, rule_hash, user_id, occurrence, step, outcome, reason, gates, event_ids, inputs,
       time AS decided_at, command_id
FROM decisions
WHERE user_id = %(user)s AND (%(trigger)s::text IS NULL OR trigger = %(trigger)s)
ORDER BY time DESC, id LIMIT %(last)s
"""


class DecisionsMissing(UserError):
    """The database has no table of decisions."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision, and whether it follows from its stored values."""

    decision: Decision
    verification: Verification
    delivery: Delivery | None = None
    """What became of its command; None if it has none, or if the decision came from a file."""
    sends: Mapping[str, DecidedSend] = field(default_factory=dict)
    """The recorded sends that its cap counted, by command."""


def from_database(ledger_url: str, database_url: str, user: str, trigger: str | None, last: int) -> list[Explanation]:
    """The user's last decisions in the hypertable, oldest first; raises DecisionsMissing if there is no table."""
    import psycopg
    from psycopg.rows import dict_row

    try:
        with (
            psycopg.connect(ledger_url, row_factory=dict_row, connect_timeout=CONNECT_S) as ledger,
            psycopg.connect(database_url, row_factory=dict_row, connect_timeout=CONNECT_S) as timescale,
        ):
            rows = timescale.execute(_QUERY, {"user": user, "trigger": trigger, "last": last}).fetchall()
            decisions = [Decision.model_validate(row) for row in reversed(rows)]
            deliveries = read_deliveries(ledger, timescale, {each.command_id for each in decisions if each.command_id})
            sends = read_sends(timescale, user, {command for each in decisions for command in _counted(each)})
    except psycopg.errors.UndefinedTable:
        raise DecisionsMissing("the database has no decisions yet; `ebbtide migrate` creates their table") from None
    return [
        replace(each, delivery=deliveries.get(each.decision.command_id or ""), sends=sends)
        for each in _explained(decisions)
    ]


def from_file(file: Path, user: str, trigger: str | None, last: int) -> list[Explanation]:
    """The user's last decisions in a file of JSON lines, oldest first; raises BadLog with file and line.

    `ebbtide backtest --json` prints such a file; its summary is skipped.
    """
    found = [d for d in _decisions(file) if d.user_id == user and trigger in (None, d.trigger)]
    return _explained(sorted(found, key=lambda each: (each.decided_at, each.id))[-last:])


def _decisions(file: Path) -> Iterator[Decision]:
    with opened(file) as lines:
        for number, line in enumerate(lines, 1):
            if number == 1:
                line = without_mark(line, file)
            if not line.strip() or line.startswith(b'{"summary":'):
                continue
            try:
                yield decode(Decision, line)
            except DecodeError as error:
                raise BadLog(f"{file}:{number}: not a decision: {error.detail}") from None


def _explained(decisions: list[Decision]) -> list[Explanation]:
    return [Explanation(each, verify(each)) for each in decisions]


def show(console: Console, explained: list[Explanation]) -> None:
    """Prints each decision: what it did and why, the answer of each gate, and the recomputation."""
    for each in explained:
        decision = each.decision
        delivered = each.delivery.headline if each.delivery else ""
        console.print(headline(decision, delivered), markup=False, soft_wrap=True, style="bold")
        for line in _about(decision):
            console.print(f"  {line}", style="dim", markup=False, soft_wrap=True)
        for answer in decision.gates:
            mark = "[green]✓[/]" if answer.passed else "[red]✗[/]"
            console.print(f"  {mark} {answer.gate:<12}", end="")
            console.print(gate_words(answer), markup=False, soft_wrap=True)
        for line in _counted_lines(each):
            console.print(f"    counted     {line}", style="dim", markup=False, soft_wrap=True)
        for line in delivery_lines(each.delivery) if each.delivery else ():
            console.print(f"  delivery      {line}", markup=False, soft_wrap=True)
        _show_recomputed(console, each)


def _events(ids: list[str]) -> str:
    """What began the occurrence; then the newest entry and the event that a `wait_for` met, where there are such."""
    first, *later = ids or ["no event"]
    return f"begun by {first}" + (f", then {', '.join(later)}" if later else "")


def _about(decision: Decision) -> Iterator[str]:
    yield f"occurrence {decision.occurrence}, {_events(decision.event_ids)}"
    inputs = {key: value for key, value in decision.inputs.items() if key not in ("due", "cause", "path", "counted")}
    if inputs:
        yield ", ".join(f"{key} {_value(value)}" for key, value in inputs.items())
    if decision.command_id:
        yield f"command {decision.command_id}"


def _counted(decision: Decision) -> list[str]:
    """The commands of the sends that the cap counted."""
    counted = decision.inputs.get("counted")
    return [each for each in counted if isinstance(each, str)] if isinstance(counted, list) else []


def _counted_lines(each: Explanation) -> Iterator[str]:
    for command in _counted(each.decision):
        sent = each.sends.get(command)
        yield f"{time_words(sent.at)}  {sent.trigger}, {sent.step}" if sent else f"command {command}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} = {item}" for key, item in value.items())
    return str(value) or "none"


def _show_recomputed(console: Console, each: Explanation) -> None:
    if not each.decision.gates:
        console.print("  no gate was asked: nothing to recompute", style="dim")
    elif each.verification.verified:
        console.print("  recomputed: the same", style="dim")
    for text in each.verification.differs:
        console.print(f"  recomputed: differs: {text}", style="red", markup=False, soft_wrap=True)
    for text in each.verification.unverified:
        console.print(f"  recomputed: cannot verify {text}", style="red", markup=False, soft_wrap=True)
    console.print()


def as_json(explained: list[Explanation]) -> list[dict[str, Any]]:
    """The stored decisions as JSON values, with differences, delivery's answer, and the sends counted by the cap."""
    return [
        {
            **each.decision.model_dump(mode="json", exclude_none=True),
            "recomputed": _recomputed_json(each.verification),
            **({"delivery": asdict(each.delivery)} if each.delivery else {}),
            **({"counted": [_counted_json(each, command) for command in counted]} if counted else {}),
        }
        for each in explained
        for counted in [_counted(each.decision)]
    ]


def _recomputed_json(found: Verification) -> str | list[str]:
    return "the same" if found.verified else [*found.differs, *(f"cannot verify {each}" for each in found.unverified)]


def _counted_json(each: Explanation, command: str) -> dict[str, Any]:
    sent = each.sends.get(command)
    return {"command_id": command, **(asdict(sent) if sent else {})}

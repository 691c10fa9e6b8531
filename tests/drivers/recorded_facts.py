"""Facts for the recorder, and what its rollups must say of them, counted in plain Python from the facts alone."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from schemas.decisions import Decision
from schemas.digests import digest
from schemas.outcomes import Outcome
from schemas.vocabulary import ENGAGEMENT, DecisionOutcome, OutcomeKind
from senders.recording import tables
from senders.recording.hypertables import DECISIONS, DELIVERIES
from senders.recording.hypertables import ENGAGEMENT as ENGAGEMENTS
from senders.recording.seen import COUNTS

Facts = Sequence[Decision | Outcome]
Rows = Counter[tuple[Any, ...]]

BEGAN = datetime(2026, 11, 1, 22, 30, tzinfo=UTC)
ROLLUPS = ("decisions", "deliveries", "engagement", "mails", "goals", "delays")
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)


def a_command(number: int) -> str:
    """The id of a command."""
    return digest(["command", number])


def an_outcome(command: int, kind: OutcomeKind, minutes: int, **more: Any) -> Outcome:
    """An outcome of a command, so many minutes after BEGAN."""
    given = {"command": command, "kind": kind, "minutes": minutes, **more}
    return Outcome(
        id=digest([str(sorted(given.items()))]),
        command_id=a_command(command),
        user_id=f"user-{command}",
        kind=kind,
        time=BEGAN + timedelta(minutes=minutes),
        **more,
    )


def a_decision(command: int | None, outcome: DecisionOutcome, minutes: int, **inputs: Any) -> Decision:
    """A decision so many minutes after BEGAN; of nobody's command if that is None."""
    return Decision(
        id=digest([command, outcome, minutes, str(sorted(inputs.items()))]),
        trigger="hello",
        rule_hash="r",
        user_id=f"user-{command}",
        occurrence="o",
        step="first",
        outcome=outcome,
        inputs=inputs,
        decided_at=BEGAN + timedelta(minutes=minutes),
        command_id=None if command is None else a_command(command),
    )


def record(connection: Connection[Any], facts: Facts) -> None:
    """Write a batch as the recorder does, in a transaction."""
    outcomes = [fact for fact in facts if isinstance(fact, Outcome)]
    with connection.transaction():
        tables.write(
            connection,
            {
                DECISIONS: [fact for fact in facts if isinstance(fact, Decision)],
                DELIVERIES: [fact for fact in outcomes if fact.kind not in ENGAGEMENT],
                ENGAGEMENTS: [fact for fact in outcomes if fact.kind in ENGAGEMENT],
            },
        )


def kept(connection: Connection[Any], names: Iterable[str] = ROLLUPS) -> dict[str, set[tuple[Any, ...]]]:
    """The rows of each rollup that are not zero, and `mails`."""
    found = {"mails": rows_of(connection, "mails")}
    for table in (f"rollup_{name}_{span}" for name in names for span in ("hour", "day")):
        found[table] = {row for row in rows_of(connection, table) if any(type(value) is int for value in row if value)}
    return found


def rows_of(connection: Connection[Any], table: str) -> set[tuple[Any, ...]]:
    """All rows of a table."""
    return set(connection.execute(SQL("SELECT * FROM {}").format(Identifier(table))).fetchall())


def forget_rollups(connection: Connection[Any], *, rows: bool = False) -> None:
    """Empty the rollups and `mails`; and the hypertables, if `rows`."""
    names = ["mails", *(f"rollup_{name}_{span}" for name in ROLLUPS for span in ("hour", "day"))]
    names += ["decisions", "deliveries", "engagement"] if rows else []
    connection.execute(SQL("TRUNCATE {}").format(SQL(", ").join(map(Identifier, names))))


@dataclass
class _Mail:
    decided: list[datetime] = field(default_factory=list)
    accepted: list[datetime] = field(default_factory=list)
    clicked: list[datetime] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=lambda: dict.fromkeys(_NAMES, ""))
    happened: set[str] = field(default_factory=set)

    @property
    def sent(self) -> datetime:
        return min(self.decided or self.accepted or [_UNKNOWN])


_NAMES = ("trigger", "step", "variant", "purpose", "brand", "provider")
COUNTED = tuple(COUNTS)


def expected(facts: Collection[Decision | Outcome]) -> dict[str, Rows]:
    """What the rollups by day say of these facts: rows without their counts, each as often as it counts."""
    once = {(fact.id, fact.decided_at if isinstance(fact, Decision) else fact.time): fact for fact in facts}
    mails: dict[str, _Mail] = {}
    found: dict[str, Rows] = {name: Counter() for name in ("decisions", "deliveries", "engagement", "goals")}
    for fact in once.values():
        if isinstance(fact, Decision):
            _decided(fact, found, mails)
        else:
            _came(fact, found, mails)
    found["mails"] = Counter(
        (_day(mail.sent), *mail.names.values(), name) for mail in mails.values() for name in mail.happened
    )
    return found


def _decided(fact: Decision, found: dict[str, Rows], mails: dict[str, _Mail]) -> None:
    variant = fact.inputs.get("variant") or ""
    of = (fact.trigger, fact.step, variant)
    found["decisions"][_day(fact.decided_at), *of, "", "", fact.outcome.value, fact.reason or ""] += 1
    if fact.outcome is not DecisionOutcome.GOAL:
        return
    sent = datetime.fromisoformat(fact.inputs["sent_at"])
    found["goals"][_day(sent), *of, fact.command_id is None] += 1
    if fact.command_id is not None:
        mail = mails.setdefault(fact.command_id, _Mail())
        mail.decided.append(sent)
        mail.happened.add("converted")
        _learn(mail, trigger=fact.trigger, step=fact.step, variant=variant)


def _came(fact: Outcome, found: dict[str, Rows], mails: dict[str, _Mail]) -> None:
    names_of = (fact.trigger, fact.step, fact.variant, fact.purpose, fact.brand)
    day, of = _day(fact.time), tuple(name or "" for name in names_of)
    is_ours = fact.kind not in ENGAGEMENT
    if is_ours:
        found["deliveries"][day, *of, fact.provider, fact.kind.value, (fact.classification or "").split(":")[0]] += 1
    else:
        actor = {True: "machine", False: "person", "unknown": "unknown"}[fact.machine]
        found["engagement"][day, *of, fact.kind.value, actor, fact.evidence or ""] += 1
    names = set(_happened(fact))
    if not names:
        return
    mail = mails.setdefault(fact.command_id, _Mail())
    mail.happened |= names
    mail.decided += [fact.decided_at] if fact.decided_at else []
    mail.accepted += [fact.time] if fact.kind is OutcomeKind.ACCEPTED else []
    mail.clicked += [fact.time] if "clicked_by_people" in names else []
    _learn(
        mail,
        trigger=fact.trigger,
        step=fact.step,
        variant=fact.variant,
        purpose=fact.purpose,
        brand=fact.brand,
        provider=fact.provider if is_ours else "",
    )


def _happened(fact: Outcome) -> Iterable[str]:
    if fact.kind not in (OutcomeKind.OPENED, OutcomeKind.CLICKED):
        return [fact.kind.value] if fact.kind.value in COUNTED else []
    kind = fact.kind.value
    if fact.machine is True:
        return [f"{kind}_by_machines"]
    if fact.machine is False:
        return [kind, f"{kind}_by_people", *(["opened_without_proxies"] if kind == "opened" else [])]
    without = kind == "opened" and fact.evidence != "proxy"
    return [kind, *(["opened_without_proxies"] if without else [])]


def _learn(mail: _Mail, **names: str | None) -> None:
    for name, value in names.items():
        mail.names[name] = max(mail.names[name], value or "")


def _day(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)

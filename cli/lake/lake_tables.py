"""The tables of the lake: their columns as Parquet types, and the rows of facts. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

import orjson
import pyarrow as pa

from schemas.decisions import Decision
from schemas.outcomes import Outcome
from schemas.vocabulary import ENGAGEMENT

_TIME = pa.timestamp("us", tz="UTC")
_ANSWER = [
    ("id", pa.string()),
    ("time", _TIME),
    ("command_id", pa.string()),
    ("user_id", pa.string()),
    ("trigger", pa.string()),
    ("purpose", pa.string()),
    ("step", pa.string()),
    ("variant", pa.string()),
    ("brand", pa.string()),
    ("decided_at", _TIME),
    ("kind", pa.string()),
    ("provider", pa.string()),
    ("code", pa.int32()),
    ("enhanced", pa.string()),
    ("reply", pa.string()),
    ("classification", pa.string()),
    ("hard", pa.bool_()),
    ("classifier_hash", pa.string()),
]
SCHEMAS = {
    "decisions": pa.schema(
        [
            ("id", pa.string()),
            ("time", _TIME),
            ("trigger", pa.string()),
            ("rule_hash", pa.string()),
            ("user_id", pa.string()),
            ("occurrence", pa.string()),
            ("step", pa.string()),
            ("outcome", pa.string()),
            ("reason", pa.string()),
            ("command_id", pa.string()),
            ("event_ids", pa.list_(pa.string())),
            ("gates", pa.string()),
            ("inputs", pa.string()),
        ]
    ),
    "deliveries": pa.schema([*_ANSWER, ("attempt", pa.int64())]),
    "engagement": pa.schema([*_ANSWER, ("machine", pa.bool_()), ("evidence", pa.string()), ("url", pa.string())]),
}
"""`gates` and `inputs` are JSON. `machine` is null where nobody can tell."""

Row = dict[str, object]


class TableDay(NamedTuple):
    """The rows of one table whose time is on one day in UTC."""

    table: str
    day: date


def by_day(facts: Iterable[Decision | Outcome]) -> dict[TableDay, dict[str, Row]]:
    """The rows of facts by id, in the order of their first appearance: a fact that is published again is the same."""
    days: defaultdict[TableDay, dict[str, Row]] = defaultdict(dict)
    for fact in facts:
        if isinstance(fact, Decision):
            table, row = "decisions", _decision(fact)
        else:
            table, row = _answer(fact)
        days[TableDay(table, _day(row))].setdefault(fact.id, row)
    return dict(days)


def _day(row: Row) -> date:
    time = row["time"]
    assert isinstance(time, date)
    return date(time.year, time.month, time.day)


def _decision(fact: Decision) -> Row:
    return {
        "id": fact.id,
        "time": fact.decided_at,
        "trigger": fact.trigger,
        "rule_hash": fact.rule_hash,
        "user_id": fact.user_id,
        "occurrence": fact.occurrence,
        "step": fact.step,
        "outcome": fact.outcome.value,
        "reason": fact.reason and fact.reason.value,
        "command_id": fact.command_id,
        "event_ids": fact.event_ids,
        "gates": orjson.dumps([gate.model_dump(mode="json") for gate in fact.gates]).decode(),
        "inputs": orjson.dumps(fact.inputs).decode(),
    }


def _answer(fact: Outcome) -> tuple[str, Row]:
    row: Row = {
        "id": fact.id,
        "time": fact.time,
        "command_id": fact.command_id,
        "user_id": fact.user_id,
        "trigger": fact.trigger,
        "purpose": fact.purpose,
        "step": fact.step,
        "variant": fact.variant,
        "brand": fact.brand,
        "decided_at": fact.decided_at,
        "kind": fact.kind.value,
        "provider": fact.provider,
        "code": fact.reply and fact.reply.code,
        "enhanced": fact.reply and fact.reply.enhanced,
        "reply": fact.reply and fact.reply.text,
        "classification": fact.classification,
        "hard": fact.is_hard,
        "classifier_hash": fact.classifier_hash,
    }
    if fact.kind not in ENGAGEMENT:
        return "deliveries", row | {"attempt": fact.attempt}
    machine = None if fact.machine == "unknown" else fact.machine
    return "engagement", row | {"machine": machine, "evidence": fact.evidence and fact.evidence.value, "url": fact.url}

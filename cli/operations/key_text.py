"""Write keys and their audit, as text and as JSON values."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from cli.columns import aligned
from web.keys.key_table import KeyChange, KeyRow

_DID = {"add": "made", "rotate": "replaced", "revoke": "revoked"}


def table(rows: Sequence[KeyRow], now: datetime) -> list[str]:
    """The keys, one a line, below a heading."""
    heading = ("ID", "CLASS", "LIMIT", "MADE", "STATE", "SOURCE")
    cells = [
        (row.id, row.key_class, _limit(row), f"{row.created_at:%Y-%m-%d %H:%M}", _state(row, now), row.source)
        for row in rows
    ]
    return aligned([heading, *cells]) if cells else []


def details(row: KeyRow, now: datetime, changes: Sequence[KeyChange]) -> list[str]:
    """A key and who did what to it."""
    facts = [
        ("key", row.id),
        ("class", row.key_class),
        ("source", row.source),
        ("origins", ", ".join(row.origins)),
        ("limit", _limit(row)),
        ("state", _state(row, now)),
        ("replaces", row.replaces or ""),
    ]
    history = [f"{each.at:%Y-%m-%d %H:%M:%S}  {_DID[each.action]} by {each.by}" for each in changes]
    return aligned([fact for fact in facts if fact[1]]) + history


def key_json(row: KeyRow, now: datetime) -> dict[str, Any]:
    """A key as JSON values."""
    return {("class" if name == "key_class" else name): value for name, value in asdict(row).items()} | {
        "valid": row.is_valid(now)
    }


def change_json(change: KeyChange) -> dict[str, Any]:
    """A line of the audit as JSON values."""
    return asdict(change)


def _limit(row: KeyRow) -> str:
    return "none" if row.events_per_s is None else f"{row.events_per_s:,.6g}/s"


def _state(row: KeyRow, now: datetime) -> str:
    if row.ends_at is None:
        return "valid"
    return f"{'valid until' if row.is_valid(now) else 'ended'} {row.ends_at:%Y-%m-%d %H:%M}"

"""Reads the gate values of stored decisions, and checks them, because a decision may come from any version or file."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from schemas.decisions import GateAnswer


class UnknownRecord(ValueError):
    """A stored gate answer whose values this version does not know."""

    def __init__(self, answer: GateAnswer) -> None:
        super().__init__(
            f"this version does not know the stored values observed={answer.observed!r}, limit={answer.limit!r}"
        )


def number(value: Any, answer: GateAnswer) -> float:
    """A number; raises UnknownRecord for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnknownRecord(answer)
    return value


def text(value: Any, answer: GateAnswer) -> str:
    """A text; raises UnknownRecord for other values."""
    if not isinstance(value, str):
        raise UnknownRecord(answer)
    return value


def fields(value: Any, answer: GateAnswer) -> Mapping[str, Any]:
    """An object; raises UnknownRecord for other values."""
    if not isinstance(value, dict):
        raise UnknownRecord(answer)
    return value


def instant(value: Any) -> datetime | None:
    """A time with its offset, or its text; None for other values."""
    if isinstance(value, datetime):
        return value
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None


def error(answer: GateAnswer) -> str | None:
    """The message of the expression that failed at this gate; None if none failed."""
    if not isinstance(answer.observed, dict) or "error" not in answer.observed:
        return None
    return text(answer.observed["error"], answer)


def compare(answer: GateAnswer, passes: bool) -> Iterator[str]:
    """The difference between the stored answer and the recomputed one."""
    if answer.passed is not passes:
        follows = "passes" if passes else "does not pass"
        yield f"it observed {answer.observed!r}, which {follows}, but the decision stores the opposite"


def time_words(value: Any) -> str:
    """An instant to the second, in UTC."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return str(value)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if isinstance(moment, datetime) else str(value)


def next_words(answer: GateAnswer) -> str:
    """When a gate that does not pass would pass; empty if that is unknown."""
    return f"; free again {time_words(answer.next_eligible)}" if answer.next_eligible else ""

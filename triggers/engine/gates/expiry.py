"""The gate `expiry`: a send that is too late is dropped.

Observed is how late the send is, in seconds; limit is the instant from which it is too late. The same gate drops a
deferral that would not end before the expiry: then nothing is observed, and `next_eligible` is the deferral's end.
"""

from collections.abc import Iterator
from datetime import datetime

from schemas.decisions import Decision, GateAnswer
from schemas.numbers import number_text, whole
from schemas.vocabulary import Gate
from triggers.engine.gates import stored
from triggers.engine.gates.request import GateRequest
from triggers.engine.records import AnswerRecord

_ROUNDING_S = 0.0005
"""Instants are kept to the millisecond."""


def ask(request: GateRequest) -> AnswerRecord:
    """Passes before the expiry."""
    now_ms, expires_ms = request.evaluation.now_ms, request.expires_ms
    late_ms = now_ms - request.occurrence.due
    late_s = whole(late_ms / 1000) if late_ms > 0 else 0
    return AnswerRecord(Gate.EXPIRY, now_ms < expires_ms, late_s, None, expires_ms)


def after_deferral(request: GateRequest, until: int | None) -> AnswerRecord:
    """The answer to a deferral that ends too late, or never."""
    return AnswerRecord(Gate.EXPIRY, False, None, None, request.expires_ms, until)


def verify(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    """Compares the instants, and the delay with the time at which the send was due."""
    limit = _limit(answer)
    late_s = None if answer.observed is None else stored.number(answer.observed, answer)
    yield from stored.compare(answer, (answer.next_eligible or decision.decided_at) < limit)
    due = stored.instant(decision.inputs.get("due"))
    if due is None or late_s is None:
        return
    found = max(0.0, (decision.decided_at - due).total_seconds())
    if abs(found - late_s) > _ROUNDING_S:
        yield f"it was {number_text(found)} s after due, not {number_text(late_s)} s"


def words(answer: GateAnswer) -> str:
    """How late the send is, and when it is too late."""
    limit = stored.time_words(_limit(answer))
    if answer.next_eligible is not None:
        return f"the send could leave {stored.time_words(answer.next_eligible)}, which is not before {limit}"
    expires = f"too late {'from' if answer.passed else 'since'} {limit}"
    if answer.observed is None:
        return expires
    return f"{number_text(stored.number(answer.observed, answer))} s after it was due; {expires}"


def _limit(answer: GateAnswer) -> datetime:
    limit = stored.instant(answer.limit)
    if limit is None:
        raise stored.UnknownRecord(answer)
    return limit

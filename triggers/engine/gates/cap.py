"""The gate `cap`: no more sends in a window than the rule's caps allow.

Observed is the number of sends in the window of the full or fullest cap, or `{"error": MESSAGE}` if a `max` failed;
limit is that cap, `{"max": 2, "per": "1d", "by": "trigger"}`, and its `spread` if it has one. Both are absent without
caps.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from schemas.decisions import Decision, GateAnswer
from schemas.numbers import number_text
from schemas.vocabulary import DecisionOutcome, Gate
from triggers.cel.runtime import EvaluationError
from triggers.engine.caps import ask_caps
from triggers.engine.gates import stored
from triggers.engine.gates.request import GateRequest
from triggers.engine.records import AnswerRecord
from triggers.measures.shapes import duration_text
from triggers.rules.rule import Cap

_NO_CAP = AnswerRecord(Gate.CAP, True, shared=True)


def ask(request: GateRequest) -> AnswerRecord:
    """Passes if every cap has room. A full cap drops the send, or defers it until there is room."""
    if not request.trigger.caps:
        return _NO_CAP
    try:
        found = ask_caps(request)
    except EvaluationError as error:
        request.evaluation.problem(request.trigger.name, "cap.max", error)
        return AnswerRecord(Gate.CAP, False, {"error": str(error)})
    if found.passed:
        return _room(found.cap, found.maximum, found.observed)
    if found.counted:
        request.verdict.inputs["counted"] = found.counted
    if found.defer:
        request.verdict.outcome, request.verdict.until = DecisionOutcome.DEFER, found.until
    return AnswerRecord(Gate.CAP, False, found.observed, _limit(found.cap, found.maximum), None, found.until)


@lru_cache(maxsize=1024)
def _room(cap: Cap, maximum: int, observed: int) -> AnswerRecord:
    return AnswerRecord(Gate.CAP, True, observed, _limit(cap, maximum), shared=True)


@lru_cache(maxsize=1024)
def _limit(cap: Cap, maximum: int) -> dict[str, Any]:
    """The cap as decisions store it."""
    limit = {"max": maximum, "per": str(cap.window), "by": cap.scope}
    return limit | {"spread": duration_text(cap.spread_ms)} if cap.spread_ms else limit


def verify(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    """Compares the number with the cap's maximum."""
    if stored.error(answer) is not None:
        yield from stored.compare(answer, False)
    elif answer.observed is None and answer.limit is None:
        yield from stored.compare(answer, True)
    else:
        observed, limit = _counts(answer)
        yield from stored.compare(answer, observed < limit["max"])
    if answer.next_eligible is not None and answer.next_eligible <= decision.decided_at:
        yield "the room that it waits for was there already"


def words(answer: GateAnswer) -> str:
    """How many sends the cap counted, and how many it allows."""
    if (error := stored.error(answer)) is not None:
        return f"error: {error}"
    if answer.observed is None and answer.limit is None:
        return "no cap"
    observed, limit = _counts(answer)
    cap = f"{number_text(limit['max'])} per {limit['per']} by {limit['by']}"
    spread = f", spread over {limit['spread']}" if "spread" in limit and answer.next_eligible else ""
    return f"{number_text(observed)} so far, of {cap}{stored.next_words(answer)}{spread}"


def _counts(answer: GateAnswer) -> tuple[float, dict[str, Any]]:
    limit = stored.fields(answer.limit, answer)
    per, by = stored.text(limit.get("per"), answer), stored.text(limit.get("by"), answer)
    found = {"max": stored.number(limit.get("max"), answer), "per": per, "by": by}
    spread = {"spread": stored.text(limit["spread"], answer)} if "spread" in limit else {}
    return stored.number(answer.observed, answer), found | spread

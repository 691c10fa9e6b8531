"""The gate `mode`: live, shadow, canary, off or paused.

Observed is the mode (`canary` inside, `outside` outside a canary) or `{"paused": SCOPE}`; limit is the canary's
percentage. In shadow and outside a canary the send passes, and is recorded instead of sent.
"""

from collections.abc import Iterator

from schemas.decisions import Decision, GateAnswer
from schemas.numbers import number_text, whole
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from triggers.engine.gates import stored
from triggers.engine.gates.request import GateRequest
from triggers.engine.records import AnswerRecord
from triggers.rules.assignment import in_canary

OUTSIDE = "outside"
RECORDED_ONLY = ("shadow", OUTSIDE)
"""Observed values of sends that are recorded as `shadow`."""
_LIVE = AnswerRecord(Gate.MODE, True, "live", shared=True)
_OFF = AnswerRecord(Gate.MODE, False, "off", shared=True)
_CANARY = ("canary", OUTSIDE)
_WORDS = {"live": "live", "shadow": "shadow: recorded, not sent", "off": "off"}


def ask(request: GateRequest) -> AnswerRecord:
    """Passes unless the rule is off or paused."""
    trigger = request.trigger
    if trigger.mode == "live" and not request.evaluation.paused:
        return _LIVE
    paused = next((scope for scope in _scopes(request) if scope in request.evaluation.paused), None)
    if paused is not None:
        return AnswerRecord(Gate.MODE, False, {"paused": paused})
    if trigger.mode == "off":
        return _OFF
    user_id = request.evaluation.state.user_id
    outside = trigger.mode == "canary" and not in_canary(trigger.name, user_id, trigger.canary_percent)
    if trigger.mode == "shadow" or outside:
        request.verdict.outcome, request.verdict.reason = DecisionOutcome.SHADOW, Reason.MODE
    limit = whole(trigger.canary_percent) if trigger.mode == "canary" else None
    return AnswerRecord(Gate.MODE, True, OUTSIDE if outside else trigger.mode, limit)


def _scopes(request: GateRequest) -> Iterator[str]:
    """What can be paused of a send, the widest first."""
    trigger = request.trigger
    yield from ("global", f"trigger/{trigger.name}", f"purpose/{trigger.purpose}", f"purpose/{trigger.consent}")
    if trigger.brand is not None:
        yield f"brand/{trigger.brand}"
    if request.send.is_webhook:
        yield f"endpoint/{request.send.template}"


def verify(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    """Compares the answer with the mode, and a canary with the hash of the user's id."""
    if _paused(answer) is not None:
        yield from stored.compare(answer, False)
        return
    seen = stored.text(answer.observed, answer)
    if seen not in (*_WORDS, *_CANARY):
        raise stored.UnknownRecord(answer)
    yield from stored.compare(answer, seen != "off")
    if seen not in _CANARY:
        return
    percent = stored.number(answer.limit, answer)
    inside = in_canary(decision.trigger, decision.user_id, percent)
    if inside is not (seen != OUTSIDE):
        yield f"the user is {'inside' if inside else 'outside'} the canary of {number_text(percent)}%"


def words(answer: GateAnswer) -> str:
    """The mode, or what is paused."""
    if (scope := _paused(answer)) is not None:
        return f"paused: {scope}"
    seen = stored.text(answer.observed, answer)
    if seen in _CANARY:
        canary = f"the canary of {number_text(stored.number(answer.limit, answer))}%"
        return f"outside {canary}: recorded, not sent" if seen == OUTSIDE else f"inside {canary}"
    if seen not in _WORDS:
        raise stored.UnknownRecord(answer)
    return _WORDS[seen]


def _paused(answer: GateAnswer) -> str | None:
    if not isinstance(answer.observed, dict):
        return None
    return stored.text(answer.observed.get("paused"), answer)

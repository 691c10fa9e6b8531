"""Decisions in plain words: what was done and why, and what each gate saw."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from schemas.decisions import Decision, GateAnswer
from schemas.numbers import number_text
from schemas.vocabulary import DecisionOutcome, Gate, Reason

_DONE = {
    DecisionOutcome.SEND: "sent",
    DecisionOutcome.DROP: "not sent",
    DecisionOutcome.DEFER: "waits",
    DecisionOutcome.HELD_OUT: "recorded, not sent",
    DecisionOutcome.SHADOW: "recorded, not sent",
    DecisionOutcome.GOAL: "goal reached",
}
_WHY = {
    Reason.MODE: "the rule's mode",
    Reason.DUPLICATE: "this very send was made before",
    Reason.SUPPRESSED: "the address is suppressed",
    Reason.NO_CONSENT: "the user has not consented",
    Reason.PROFILE_UNKNOWN: "no profile of the user has come",
    Reason.CONDITION: "`when` was not true",
    Reason.CONDITION_ERROR: "an expression of `unless` failed, and nobody is mailed by mistake",
    Reason.HOLDOUT: "the user is held out, for comparison",
    Reason.EXPIRED: "too late",
    Reason.QUIET: "a quiet period",
    Reason.CAP: "the cap is full",
    Reason.INVALID_DATA: "a field of the message could not be computed",
    Reason.EVICTED: "the user had too many running occurrences of this rule; the oldest ended",
    Reason.WITHDRAWN: "the rule was taken away",
}


def headline(decision: Decision, delivered: str = "") -> str:
    """When, what, and why, on one line; of a send what `delivered` says, where it is known."""
    done = delivered or _DONE[decision.outcome]
    why = f": {_WHY[decision.reason]}" if decision.reason else ""
    cause, path = decision.inputs.get("cause"), decision.inputs.get("path")
    held = "no profile came" if cause == Reason.PROFILE_UNKNOWN else f"{cause} would have held it past its expiry"
    more = f" ({held})" if cause else f" ({path})" if path else ""
    return f"{time_words(decision.decided_at)}  {decision.trigger}, {decision.step}: {done}{why}{more}"


def gate_words(answer: GateAnswer) -> str:
    """What one gate saw, what it allows, and when it would pass."""
    words = _WORDS[answer.gate](answer)
    waits = answer.gate in (Gate.QUIET, Gate.CAP) and answer.next_eligible
    return f"{words}; free again {time_words(answer.next_eligible)}" if waits else words


def _mode(answer: GateAnswer) -> str:
    said = {
        "live": "live",
        "shadow": "shadow: recorded, not sent",
        "off": "off",
        "canary": f"inside the canary of {answer.limit}",
        "outside": f"outside the canary of {answer.limit}: recorded, not sent",
    }
    return said.get(str(answer.observed), str(answer.observed))


def _dedupe(answer: GateAnswer) -> str:
    return "not sent before" if answer.passed else f"sent before, as command {answer.observed}"


def _suppression(answer: GateAnswer) -> str:
    return "the address is not suppressed" if answer.passed else "the address bounced or complained, and is suppressed"


def _consent(answer: GateAnswer) -> str:
    if answer.observed == "not needed":
        return "transactional: needs none"
    if answer.observed == "no profile":
        waits = f"; waits for one until {time_words(answer.next_eligible)}" if answer.next_eligible else ""
        return f"no profile of the user yet, so no word on {answer.limit}{waits}"
    return f"{answer.observed} for {answer.limit}"


def _when(answer: GateAnswer) -> str:
    if answer.limit is None:
        return "nothing is asked"
    seen = str(answer.observed).lower() if isinstance(answer.observed, bool) else str(answer.observed)
    return f"{seen}: {answer.limit}"


def _holdout(answer: GateAnswer) -> str:
    return f"{answer.observed} ({answer.limit})" if answer.observed else "not held out"


def _expiry(answer: GateAnswer) -> str:
    limit = time_words(answer.limit)
    if answer.next_eligible is not None:
        return f"it could have left {time_words(answer.next_eligible)}, which is not before {limit}"
    late = f"{number_text(answer.observed)} s after it was due" if isinstance(answer.observed, int | float) else "asked"
    return f"{late}; too late from {limit}" if answer.passed else f"{late}; too late since {limit}"


def _quiet(answer: GateAnswer) -> str:
    if answer.observed is None:
        return "no quiet periods"
    return f"{answer.observed}, outside them" if answer.passed else f"{answer.observed}, within {answer.limit}"


def _cap(answer: GateAnswer) -> str:
    if answer.observed is None:
        return "no cap"
    return f"{answer.observed} so far, of {answer.limit}" if answer.limit else str(answer.observed)


_WORDS: Mapping[Gate, Callable[[GateAnswer], str]] = {
    Gate.MODE: _mode,
    Gate.DEDUPE: _dedupe,
    Gate.SUPPRESSION: _suppression,
    Gate.CONSENT: _consent,
    Gate.WHEN: _when,
    Gate.HOLDOUT: _holdout,
    Gate.EXPIRY: _expiry,
    Gate.QUIET: _quiet,
    Gate.CAP: _cap,
}


def time_words(value: Any) -> str:
    """An instant to the second, in UTC."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return str(value)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if isinstance(moment, datetime) else str(value)

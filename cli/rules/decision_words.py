"""The headline of a decision in plain words: when, what, and why."""

from schemas.decisions import Decision
from schemas.vocabulary import DecisionOutcome, Reason
from triggers.engine.gates.stored import time_words

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
    Reason.DUPLICATE: "this send was made before",
    Reason.SUPPRESSED: "the address is suppressed",
    Reason.NO_CONSENT: "the user has not consented",
    Reason.PROFILE_UNKNOWN: "the user has no profile yet",
    Reason.USER_PAUSED: "the user asked for no mail for a time",
    Reason.CONDITION: "`when` was not true",
    Reason.CONDITION_ERROR: "an expression of `unless` failed, so nothing is sent",
    Reason.HOLDOUT: "the user is in the holdout",
    Reason.EXPIRED: "too late",
    Reason.QUIET: "a quiet period",
    Reason.CAP: "the cap is full",
    Reason.INVALID_DATA: "a field of the message could not be computed",
    Reason.EVICTED: "the user had too many running occurrences of this rule; the oldest ended",
    Reason.WITHDRAWN: "the rule was removed",
}


def headline(decision: Decision, delivered: str = "") -> str:
    """When, what, and why, on one line. `delivered` replaces the outcome of a send."""
    return f"{time_words(decision.decided_at)}  {outcome_words(decision, delivered)}"


def outcome_words(decision: Decision, delivered: str = "") -> str:
    """The same without the instant."""
    done = delivered or _DONE[decision.outcome]
    why = f": {_WHY[decision.reason]}" if decision.reason else ""
    cause, path = decision.inputs.get("cause"), decision.inputs.get("path")
    held = "no profile came" if cause == Reason.PROFILE_UNKNOWN else f"{cause} would have held it past its expiry"
    more = f" ({held})" if cause else f" ({path})" if path else ""
    return f"{decision.trigger}, {decision.step}: {done}{why}{more}"

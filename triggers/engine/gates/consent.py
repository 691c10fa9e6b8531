"""The gate `consent`: the user agreed to the purpose and has not paused mail, or the purpose is transactional.

Observed is granted, refused, unknown, not_needed, no_profile or user_paused; limit is the consent's name.
"""

from collections.abc import Iterator
from functools import lru_cache

from schemas.decisions import Decision, GateAnswer
from schemas.vocabulary import TRANSACTIONAL, DecisionOutcome, Gate
from triggers.engine.gates import stored
from triggers.engine.gates.request import GateRequest
from triggers.engine.records import AnswerRecord

NO_PROFILE = "no_profile"
"""Observed if no profile of the user was ever read."""
USER_PAUSED = "user_paused"
"""Observed if the user agreed, and asked for no mail for a time that is not over."""
_NOT_NEEDED = AnswerRecord(Gate.CONSENT, True, "not_needed", TRANSACTIONAL, shared=True)
_PASSES = {
    "granted": True,
    "not_needed": True,
    "refused": False,
    "unknown": False,
    NO_PROFILE: False,
    USER_PAUSED: False,
}


def ask(request: GateRequest) -> AnswerRecord:
    """Passes if consent is granted or not needed. Waits for the first profile of an unknown user."""
    purpose = request.trigger.consent
    if purpose == TRANSACTIONAL:
        return _NOT_NEEDED
    evaluation = request.evaluation
    consent = evaluation.state.consent.get(purpose)
    if consent is None and not evaluation.state.profiled:
        return _no_profile(request)
    paused_until = evaluation.state.paused_until
    if consent is not None and consent.granted and paused_until is not None and evaluation.now_ms < paused_until:
        return AnswerRecord(Gate.CONSENT, False, USER_PAUSED, purpose, None, paused_until)
    return _answer("unknown" if consent is None else "granted" if consent.granted else "refused", purpose)


@lru_cache(maxsize=1024)
def _answer(observed: str, purpose: str) -> AnswerRecord:
    return AnswerRecord(Gate.CONSENT, _PASSES[observed], observed, purpose, shared=True)


def _no_profile(request: GateRequest) -> AnswerRecord:
    """Defers the send of an unknown user, who has not refused, until the first profile, and then decides it again.

    The wait begins at the first decision. If the expiry comes before its end, the verdict names both.
    """
    evaluation, occurrence, verdict = request.evaluation, request.occurrence, request.verdict
    since = evaluation.now_ms if occurrence.since is None else occurrence.since
    ends = since + evaluation.profile_wait_ms
    until = min(ends, request.expires_ms)
    waits = evaluation.now_ms < until
    if waits or request.expires_ms <= ends:
        verdict.outcome, verdict.until = DecisionOutcome.DEFER, until if waits else None
    return AnswerRecord(Gate.CONSENT, False, NO_PROFILE, request.trigger.consent, None, verdict.until)


def verify(_decision: Decision, answer: GateAnswer) -> Iterator[str]:
    """Compares the answer with the value."""
    yield from stored.compare(answer, _PASSES[_observed(answer)])


def words(answer: GateAnswer) -> str:
    """The user's consent, or until when the send waits for a profile."""
    observed, purpose = _observed(answer), stored.text(answer.limit, answer)
    if observed == "not_needed":
        return "transactional: not needed"
    if observed == NO_PROFILE:
        waits = f"; waits for one until {stored.time_words(answer.next_eligible)}" if answer.next_eligible else ""
        return f"no profile of the user yet, so consent to {purpose} is unknown{waits}"
    if observed == USER_PAUSED:
        return f"granted for {purpose}, and the user asked for no mail{stored.next_words(answer)}"
    return f"{observed} for {purpose}"


def _observed(answer: GateAnswer) -> str:
    observed = stored.text(answer.observed, answer)
    if observed not in _PASSES:
        raise stored.UnknownRecord(answer)
    return observed

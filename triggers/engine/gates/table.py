"""The gates in their order, and what each does: ask about a send, verify a stored answer, describe it in words.

The first gate that does not pass decides. A deferral that would not end before the expiry is dropped at once, and both
answers are stored. In shadow, outside a canary and in a holdout, the remaining gates count the real sends and those
recorded for the same reason; a send that passes is recorded and not sent.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.decisions import Decision, GateAnswer
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from triggers.engine.gates import cap, consent, dedupe, expiry, holdout, mode, quiet, suppression, when
from triggers.engine.gates.request import GateRequest, Verdict
from triggers.engine.gates.stored import UnknownRecord
from triggers.engine.records import AnswerRecord


@dataclass(frozen=True, slots=True)
class GateDefinition:
    """One gate. `verify` yields each contradiction in the stored answer. It and `words` raise UnknownRecord."""

    reason: Reason
    ask: Callable[[GateRequest], AnswerRecord]
    verify: Callable[[Decision, GateAnswer], Iterator[str]]
    words: Callable[[GateAnswer], str]


GATES: Mapping[Gate, GateDefinition] = {
    Gate.MODE: GateDefinition(Reason.MODE, mode.ask, mode.verify, mode.words),
    Gate.DEDUPE: GateDefinition(Reason.DUPLICATE, dedupe.ask, dedupe.verify, dedupe.words),
    Gate.SUPPRESSION: GateDefinition(Reason.SUPPRESSED, suppression.ask, suppression.verify, suppression.words),
    Gate.CONSENT: GateDefinition(Reason.NO_CONSENT, consent.ask, consent.verify, consent.words),
    Gate.WHEN: GateDefinition(Reason.CONDITION, when.ask, when.verify, when.words),
    Gate.HOLDOUT: GateDefinition(Reason.HOLDOUT, holdout.ask, holdout.verify, holdout.words),
    Gate.EXPIRY: GateDefinition(Reason.EXPIRED, expiry.ask, expiry.verify, expiry.words),
    Gate.QUIET: GateDefinition(Reason.QUIET, quiet.ask, quiet.verify, quiet.words),
    Gate.CAP: GateDefinition(Reason.CAP, cap.ask, cap.verify, cap.words),
}
DEFERRING = (Gate.CONSENT, Gate.QUIET, Gate.CAP)
"""The gates that may hold a send until later."""
_REFINED = {consent.NO_PROFILE: Reason.PROFILE_UNKNOWN, consent.USER_PAUSED: Reason.USER_PAUSED}
WEBHOOK_GATES = (Gate.MODE, Gate.DEDUPE, Gate.WHEN, Gate.EXPIRY)
"""The gates of a webhook, which is no message to the user."""
_ASKED = tuple((each.ask, each.reason) for each in GATES.values())
_ASKED_OF_WEBHOOKS = tuple((GATES[gate].ask, GATES[gate].reason) for gate in WEBHOOK_GATES)


def ask(request: GateRequest) -> Verdict:
    """Asks the gates in order, until one does not pass."""
    answers = request.verdict.answers
    for gate, reason in _ASKED_OF_WEBHOOKS if request.send.is_webhook else _ASKED:
        answer = gate(request)
        answers.append(answer)
        if not answer.passed:
            _refuse(request, refined(reason, answer.observed))
            break
    return request.verdict


def _refuse(request: GateRequest, reason: Reason) -> None:
    """Drops the send, unless the gate that refused it has deferred it."""
    request.verdict.reason = reason
    if request.verdict.outcome is DecisionOutcome.DEFER:
        _check_expiry(request)
    else:
        request.verdict.outcome = DecisionOutcome.DROP


def refined(reason: Reason, observed: Any) -> Reason:
    """The reason of a gate that does not pass: a missing profile and a pause of the user have their own."""
    return _REFINED.get(observed, reason) if isinstance(observed, str) else reason


def _check_expiry(request: GateRequest) -> None:
    """Drops a deferral that would not end before the expiry."""
    verdict, until = request.verdict, request.verdict.until
    if until is not None and (until < request.expires_ms or verdict.reason is Reason.PROFILE_UNKNOWN):
        return
    verdict.answers.append(expiry.after_deferral(request, until))
    verdict.inputs["cause"] = verdict.reason
    verdict.outcome, verdict.reason, verdict.until = DecisionOutcome.DROP, Reason.EXPIRED, None


def gate_words(answer: GateAnswer) -> str:
    """What one gate observed, what it allows, and when it would pass."""
    try:
        return GATES[answer.gate].words(answer)
    except UnknownRecord as error:
        return str(error)

"""The gate `suppression`: no mail to an address that bounced or complained. Observed is whether it is suppressed."""

from collections.abc import Iterator

from schemas.decisions import Decision, GateAnswer
from schemas.vocabulary import Gate
from triggers.engine.gates import stored
from triggers.engine.gates.request import GateRequest
from triggers.engine.records import AnswerRecord

_NOT_SUPPRESSED = AnswerRecord(Gate.SUPPRESSION, True, False, shared=True)
_SUPPRESSED = AnswerRecord(Gate.SUPPRESSION, False, True, shared=True)


def ask(request: GateRequest) -> AnswerRecord:
    """Passes unless delivery suppressed the user's address."""
    return _SUPPRESSED if request.evaluation.state.suppressed else _NOT_SUPPRESSED


def verify(_decision: Decision, answer: GateAnswer) -> Iterator[str]:
    """Compares the answer with the value."""
    yield from stored.compare(answer, not _suppressed(answer))


def words(answer: GateAnswer) -> str:
    """Whether the address is suppressed."""
    if _suppressed(answer):
        return "the address bounced or complained, and is suppressed"
    return "the address is not suppressed"


def _suppressed(answer: GateAnswer) -> bool:
    if not isinstance(answer.observed, bool):
        raise stored.UnknownRecord(answer)
    return answer.observed

"""The gate `when`: the rule's condition on the moment of sending.

Observed is its value, or `{"error": MESSAGE}` if it failed; limit is its text. Both are absent without a `when`.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from schemas.decisions import Decision, GateAnswer
from schemas.numbers import whole
from schemas.vocabulary import Gate
from triggers.cel.conditions import Condition, Context, compile_condition
from triggers.cel.runtime import EvaluationError, as_time
from triggers.cel.tree import SyntaxProblem
from triggers.engine.gates import stored
from triggers.engine.gates.request import GateRequest
from triggers.engine.records import AnswerRecord
from triggers.rules.ruleset import RuleSet

_NO_WHEN = AnswerRecord(Gate.WHEN, True, shared=True)
_NOTHING: Any = None


def ask(request: GateRequest) -> AnswerRecord:
    """Passes if the condition is true or absent. If it fails, the gate does not pass, and the failure is a problem."""
    condition = request.trigger.when
    if condition is None:
        return _NO_WHEN
    context = request.context
    _add_inputs(request.verdict.inputs, condition, request.evaluation.rules, context)
    try:
        return _answer(condition.holds(context), condition.text)
    except EvaluationError as error:
        request.evaluation.problem(request.trigger.name, "when", error)
        return AnswerRecord(Gate.WHEN, False, {"error": str(error)}, condition.text)


@lru_cache(maxsize=1024)
def _answer(passed: bool, condition: str) -> AnswerRecord:
    return AnswerRecord(Gate.WHEN, passed, passed, condition, shared=True)


def _add_inputs(found: dict[str, Any], condition: Condition, rules: RuleSet, context: Context) -> None:
    """Adds the scores, metrics and segments that a condition reads, as far as they are still defined."""
    code = condition.code
    if code.scores:
        found["scores"] = {
            name: whole(round(context.score(name), 6)) for name in sorted(code.scores) if name in rules.scores
        }
    if code.metrics:
        there = sorted((name, part) for name, part in code.metrics if name in rules.metrics)
        found["metrics"] = {f"{name}.{part}": _metric(context, name, part) for name, part in there}
    if code.segments:
        found["segments"] = {name: context.segment(name) for name in sorted(code.segments & rules.segments.keys())}


def _metric(context: Context, metric: str, part: str) -> float | str | None:
    value = context.metric(metric, part)
    if value is None:
        return None
    return as_time(int(value)).isoformat() if part in ("first", "last") else whole(value)


def verify(decision: Decision, answer: GateAnswer) -> Iterator[str]:
    """Compares the answer with the value, and the value of a condition that reads only scores with the stored
    scores."""
    if answer.limit is None and answer.observed is None:
        yield from stored.compare(answer, True)
        return
    condition = stored.text(answer.limit, answer)
    if stored.error(answer) is not None:
        yield from stored.compare(answer, False)
        return
    if not isinstance(answer.observed, bool):
        raise stored.UnknownRecord(answer)
    yield from stored.compare(answer, answer.observed)
    found = _evaluated_on_scores(condition, decision.inputs.get("scores"))
    if found is not None and found is not answer.observed:
        yield f"with the stored scores it is {str(found).lower()}"


def _evaluated_on_scores(condition: str, scores: Any) -> bool | None:
    """The value of a condition that reads nothing but scores; None where the stored scores do not determine it.

    Scores are stored to the millionth, so an answer that changes within a millionth is not determined.
    """
    if not isinstance(scores, dict):
        return None
    try:
        compiled = compile_condition(condition, "truth")
        if compiled.code.roots != {"score"}:
            return None
        answers = {compiled.holds(_with_scores(scores, by)) for by in (-1e-6, 0.0, 1e-6)}
    except (SyntaxProblem, EvaluationError, KeyError, TypeError, ValueError):
        return None
    return answers.pop() if len(answers) == 1 else None


def _with_scores(scores: Mapping[str, Any], by: float) -> Context:
    def score(name: str) -> float:
        return float(scores[name]) + by

    return Context(_NOTHING, _NOTHING, None, score, 0)


def words(answer: GateAnswer) -> str:
    """The condition and its value."""
    if answer.limit is None and answer.observed is None:
        return "no condition"
    condition = stored.text(answer.limit, answer)
    if (error := stored.error(answer)) is not None:
        return f"error: {error}: {condition}"
    if not isinstance(answer.observed, bool):
        raise stored.UnknownRecord(answer)
    return f"{str(answer.observed).lower()}: {condition}"

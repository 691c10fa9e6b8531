"""The rows of the hypertables: the columns of each, and the values that a fact has in them."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from pydantic import TypeAdapter

from schemas.decisions import Decision, GateAnswer
from schemas.outcomes import Outcome

Values = tuple[Any, ...]

DECISION = (
    "id",
    "time",
    "trigger",
    "rule_hash",
    "user_id",
    "occurrence",
    "step",
    "variant",
    "outcome",
    "reason",
    "command_id",
    "event_ids",
    "gates",
    "inputs",
)
_OUTCOME = (
    "id",
    "time",
    "command_id",
    "user_id",
    "trigger",
    "purpose",
    "step",
    "variant",
    "brand",
    "decided_at",
    "kind",
    "provider",
    "code",
    "enhanced",
    "reply",
    "classification",
    "hard",
    "classifier_hash",
)
DELIVERY = (*_OUTCOME, "attempt")
ENGAGEMENT = (*_OUTCOME, "machine", "evidence", "url")

_GATES = TypeAdapter(list[GateAnswer])


def of_decision(decision: Decision) -> Values:
    """The values of DECISION."""
    inputs = decision.inputs
    variant = inputs.get("variant")
    return (
        decision.id,
        decision.decided_at,
        decision.trigger,
        decision.rule_hash,
        decision.user_id,
        decision.occurrence,
        decision.step,
        variant if isinstance(variant, str) else None,
        decision.outcome.value,
        decision.reason and decision.reason.value,
        decision.command_id,
        decision.event_ids,
        _GATES.dump_json(decision.gates, exclude_defaults=True).decode(),
        orjson.dumps(inputs).decode(),
    )


def _of_outcome(outcome: Outcome) -> Values:
    reply = outcome.reply
    code, enhanced, text = (None, None, None) if reply is None else (reply.code, reply.enhanced, reply.text)
    return (
        outcome.id,
        outcome.time,
        outcome.command_id,
        outcome.user_id,
        outcome.trigger,
        outcome.purpose,
        outcome.step,
        outcome.variant,
        outcome.brand,
        outcome.decided_at,
        outcome.kind.value,
        outcome.provider,
        code,
        enhanced,
        text,
        outcome.classification,
        outcome.is_hard,
        outcome.classifier_hash,
    )


def of_delivery(outcome: Outcome) -> Values:
    """The values of DELIVERY."""
    return (*_of_outcome(outcome), outcome.attempt)


def of_engagement(outcome: Outcome) -> Values:
    """The values of ENGAGEMENT."""
    machine = None if outcome.machine == "unknown" else outcome.machine
    return (*_of_outcome(outcome), machine, outcome.evidence and outcome.evidence.value, outcome.url)


RowOf = Callable[[Any], Values]
Columns = Sequence[str]

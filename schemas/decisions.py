"""Decisions: every choice that reached a gate, sent or not, with its reasons."""

from typing import Any

from pydantic import Field

from schemas.types import Fact, Id, Instant, Name, Properties
from schemas.vocabulary import DecisionOutcome, Gate, Reason


class GateAnswer(Fact):
    """What one gate saw, what it allows, and when it would pass if it does not pass now."""

    gate: Gate
    passed: bool
    observed: Any = None
    limit: Any = None
    next_eligible: Instant | None = None


class Decision(Fact):
    """One decision. Keyed by `user_id`."""

    id: str
    trigger: Name
    rule_hash: str
    user_id: Id
    occurrence: str
    step: Name
    outcome: DecisionOutcome
    reason: Reason | None = None
    gates: list[GateAnswer] = Field(default_factory=list)
    event_ids: list[str] = Field(default_factory=list)
    """What began the occurrence, its newest entry if that is another, and the event that its last `wait_for` met."""
    inputs: Properties = Field(default_factory=dict)
    decided_at: Instant
    command_id: str | None = None

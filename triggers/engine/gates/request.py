"""One send before its gates, and what the gates say together."""

from dataclasses import dataclass, field
from typing import Any

from schemas.vocabulary import DecisionOutcome, Reason
from triggers.cel.conditions import Context
from triggers.engine.records import Answer
from triggers.engine.turn import Turn
from triggers.rules.assignment import in_holdout
from triggers.rules.rule import Send, Trigger
from triggers.rules.state import Occurrence


@dataclass(slots=True)
class Verdict:
    """What the gates say. `outcome` is send, shadow or held_out where all passed; `until` is a deferral's instant."""

    outcome: DecisionOutcome = DecisionOutcome.SEND
    reason: Reason | None = None
    until: int | None = None
    answers: list[Answer] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class GateRequest:
    """One send before the gates. `moment` is the instant at which `when` is evaluated: `settle` before the clock, but
    not before the send was due."""

    turn: Turn
    trigger: Trigger
    occurrence: Occurrence
    send: Send
    command_id: str
    moment: int
    paused: frozenset[str]
    verdict: Verdict = field(default_factory=Verdict)
    cached_context: Context | None = None

    @property
    def context(self) -> Context:
        """The names that the rule's expressions read."""
        if self.cached_context is None:
            self.cached_context = self.turn.context(self.occurrence.event, self.occurrence, self.moment)
        return self.cached_context

    @property
    def expires_ms(self) -> int:
        """The instant from which the send is too late."""
        return self.occurrence.due + self.trigger.expires_ms

    def holdout(self) -> tuple[str, float] | None:
        """The name and percentage of the first holdout that the user is in."""
        user_id = self.turn.state.user_id
        return next((each for each in self.trigger.holdouts if in_holdout(each[0], user_id, each[1])), None)

"""One send before its gates, and their common verdict."""

from typing import Any

from msgspec import Struct, field

from schemas.commands import command_id
from schemas.vocabulary import DecisionOutcome, Reason
from triggers.cel.conditions import Context
from triggers.engine.evaluation import Evaluation
from triggers.engine.records import AnswerRecord
from triggers.rules.assignment import in_holdout
from triggers.rules.rule import Send, Trigger
from triggers.rules.state import Occurrence


class Verdict(Struct, eq=False):
    """The verdict of all gates. `outcome` is send, shadow or held_out if all pass; a deferral ends at `until`."""

    outcome: DecisionOutcome = DecisionOutcome.SEND
    reason: Reason | None = None
    until: int | None = None
    answers: list[AnswerRecord] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)


class GateRequest(Struct, eq=False):
    """One send before the gates.

    `moment` is the instant at which `when` is evaluated: `settle` before the clock, but not before the send was due.
    """

    evaluation: Evaluation
    trigger: Trigger
    occurrence: Occurrence
    send: Send
    moment: int
    verdict: Verdict = field(default_factory=Verdict)
    cached_context: Context | None = None
    cached_id: str | None = None

    @property
    def command_id(self) -> str:
        """The id of the command that the send would write."""
        if self.cached_id is None:
            user_id, occurrence = self.evaluation.state.user_id, self.occurrence.id
            self.cached_id = command_id(self.trigger.name, user_id, occurrence, self.send.id)
        return self.cached_id

    @property
    def context(self) -> Context:
        """The names that the rule's expressions read."""
        if self.cached_context is None:
            self.cached_context = self.evaluation.context(self.occurrence.event, self.occurrence, self.moment)
        return self.cached_context

    @property
    def expires_ms(self) -> int:
        """The instant from which the send is too late."""
        return self.occurrence.due + self.trigger.expires_ms

    def holdout(self) -> tuple[str, float] | None:
        """The name and percentage of the first holdout that the user is in; None if there is none, or for a webhook."""
        if not self.trigger.holdouts or self.send.is_webhook:
            return None
        user_id = self.evaluation.state.user_id
        return next((each for each in self.trigger.holdouts if in_holdout(each[0], user_id, each[1])), None)

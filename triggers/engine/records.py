"""Decisions and commands as the evaluator records them, and their JSON on the wire.

A record is a few plain values. Streams write JSON from them without building the models: `decision_json` and
`command_json` return the bytes that encoding the models would return. A backtest of a year only counts records.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson
from msgspec import Struct, field

from schemas.commands import SendCommand
from schemas.decisions import Decision
from schemas.digests import digest
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from triggers.cel.runtime import as_time


class AnswerRecord(Struct, eq=False):
    """One gate's answer. `limit_ms` is a limit that is an instant; `until_ms` is when the gate would pass.

    A `shared` answer is given many times and never changes, so its JSON is written once.
    """

    gate: Gate
    passed: bool
    observed: Any = None
    limit: Any = None
    limit_ms: int | None = None
    until_ms: int | None = None
    shared: bool = False
    written: orjson.Fragment | None = None

    def json(self) -> Any:
        """What orjson writes as this answer."""
        if self.written is not None:
            return self.written
        fields = self.fields(_instant)
        if not self.shared:
            return fields
        self.written = orjson.Fragment(orjson.dumps(fields))
        return self.written

    def fields(self, time: Callable[[int], Any]) -> dict[str, Any]:
        """The fields of `GateAnswer` that are not None, with instants as `time` returns them."""
        fields: dict[str, Any] = {"gate": str(self.gate), "passed": self.passed}
        if self.observed is not None:
            fields["observed"] = self.observed
        if self.limit_ms is not None:
            fields["limit"] = time(self.limit_ms)
        elif self.limit is not None:
            fields["limit"] = self.limit
        if self.until_ms is not None:
            fields["next_eligible"] = time(self.until_ms)
        return fields


_FRACTIONS = ("", *(f".{ms:03d}000" for ms in range(1, 1000)))
"""Milliseconds as `isoformat` writes them. A look-up takes half the time of formatting."""


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return as_time(seconds * 1000).isoformat()[:-6]


def _local(ms: int) -> str:
    """An instant as `isoformat` writes it, without the offset."""
    seconds, rest = divmod(ms, 1000)
    return _second(seconds) + _FRACTIONS[rest]


def _instant(ms: int) -> str:
    """An instant as the models write it."""
    return f"{_local(ms)}Z"


class CommandFields(Struct, eq=False):
    """The fields that only a command has."""

    id: str
    channel: str
    to: str | None
    template: str
    template_hash: str
    variant: str | None
    purpose: str
    data: dict[str, Any]
    expires_ms: int
    priority: int
    brand: str | None = None
    budgets: list[dict[str, Any]] | None = None


class DecisionRecord(Struct, eq=False):
    """One decision. It has `command_fields` if it sends. `distinction` replaces the reason in the decision's id."""

    trigger: str
    rule_hash: str
    user_id: str
    occurrence: str
    step: str
    outcome: DecisionOutcome
    reason: Reason | None
    at_ms: int
    due_ms: int | None
    event_ids: list[str]
    answers: list[AnswerRecord] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    command_fields: CommandFields | None = None
    command_id: str | None = None
    distinction: str | None = None

    def decision_id(self) -> str:
        """Blake2b-128 of what was decided, about whom, and when: a replay gives the same id."""
        what = self.distinction if self.distinction is not None else self.reason
        return digest([self.trigger, self.user_id, self.occurrence, self.step, self.outcome, what, self.at_ms])

    def decision_json(self) -> bytes:
        """The decision on the wire."""
        gates = [each.written or each.json() for each in self.answers]
        return orjson.dumps(self._decision_fields(_instant, gates))

    def command_json(self) -> bytes | None:
        """The command on the wire; None if the decision does not send."""
        command = self.command_fields
        return None if command is None else orjson.dumps(self._command_fields(command, _instant))

    def decision(self) -> Decision:
        """The decision as its model."""
        return Decision(**self._decision_fields(as_time, [each.fields(as_time) for each in self.answers]))

    def command(self) -> SendCommand | None:
        """The command as its model; None if the decision does not send."""
        command = self.command_fields
        return None if command is None else SendCommand(**self._command_fields(command, as_time))

    def _decision_fields(self, time: Callable[[int], Any], gates: list[Any]) -> dict[str, Any]:
        """The fields of `Decision` in its order, without those that are None."""
        inputs = self.inputs if self.due_ms is None else {**self.inputs, "due": f"{_local(self.due_ms)}+00:00"}
        fields: dict[str, Any] = {
            "id": self.decision_id(),
            "trigger": self.trigger,
            "rule_hash": self.rule_hash,
            "user_id": self.user_id,
            "occurrence": self.occurrence,
            "step": self.step,
            "outcome": str(self.outcome),
        }
        if self.reason is not None:
            fields["reason"] = str(self.reason)
        fields["gates"] = gates
        fields["event_ids"] = self.event_ids
        fields["inputs"] = inputs
        fields["decided_at"] = time(self.at_ms)
        if self.command_id is not None:
            fields["command_id"] = self.command_id
        return fields

    def _command_fields(self, command: CommandFields, time: Callable[[int], Any]) -> dict[str, Any]:
        """The fields of `SendCommand` in its order, without those that are None."""
        fields: dict[str, Any] = {
            "id": command.id,
            "trigger": self.trigger,
            "rule_hash": self.rule_hash,
            "occurrence": self.occurrence,
            "step": self.step,
            "user_id": self.user_id,
            "channel": command.channel,
        }
        if command.to is not None:
            fields["to"] = command.to
        fields["template"] = command.template
        fields["template_hash"] = command.template_hash
        if command.variant is not None:
            fields["variant"] = command.variant
        if command.brand is not None:
            fields["brand"] = command.brand
        fields["purpose"] = command.purpose
        if command.budgets is not None:
            fields["budgets"] = command.budgets
        fields["data"] = command.data
        fields["decided_at"] = time(self.at_ms)
        fields["expires_at"] = time(command.expires_ms)
        fields["priority"] = command.priority
        return fields

"""Decisions and commands as the evaluator records them, and their JSON on the wire.

A record is a few plain values. The stream writes its JSON from them, without the models: `decision_json` and
`command_json` give the bytes that encoding the models gives. A backtest of a year only counts.
"""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from schemas.commands import SendCommand
from schemas.decisions import Decision, GateAnswer
from schemas.vocabulary import DecisionOutcome, Gate, Reason
from triggers.cel.runtime import as_time


class Answer(NamedTuple):
    """One gate's answer; `limit_ms` is a limit that is an instant, `until_ms` when the gate would pass."""

    gate: Gate
    passed: bool
    observed: Any = None
    limit: Any = None
    limit_ms: int | None = None
    until_ms: int | None = None

    def model(self) -> GateAnswer:
        """The answer as its model."""
        limit = self.limit if self.limit_ms is None else as_time(self.limit_ms)
        until = None if self.until_ms is None else as_time(self.until_ms)
        return GateAnswer(gate=self.gate, passed=self.passed, observed=self.observed, limit=limit, next_eligible=until)

    def json(self) -> dict[str, Any]:
        """The answer as JSON has it."""
        written: dict[str, Any] = {"gate": self.gate, "passed": self.passed}
        if self.observed is not None:
            written["observed"] = self.observed
        if self.limit_ms is not None:
            written["limit"] = _instant(self.limit_ms)
        elif self.limit is not None:
            written["limit"] = self.limit
        if self.until_ms is not None:
            written["next_eligible"] = _instant(self.until_ms)
        return written


@lru_cache(maxsize=1024)
def _instant(ms: int) -> str:
    """An instant as the models write it."""
    return f"{as_time(ms).isoformat()[:-6]}Z"


class Message(NamedTuple):
    """What only a command needs to know."""

    command_id: str
    channel: str
    to: str | None
    template: str
    template_hash: str
    variant: str | None
    purpose: str
    data: dict[str, Any]
    expires_ms: int
    priority: int


@dataclass(slots=True)
class DecisionRecord:
    """One decision. `message` is there where it sends; `what` tells apart decisions alike but for it."""

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
    answers: list[Answer] = field(default_factory=list)
    inputs: dict[str, Any] = field(default_factory=dict)
    message: Message | None = None
    command_id: str | None = None
    what: str | None = None

    def decision_id(self) -> str:
        """Blake2b-128 of what is decided, about whom, and when: a replay gives it again."""
        what = self.what if self.what is not None else self.reason
        parts = [self.trigger, self.user_id, self.occurrence, self.step, self.outcome, what, self.at_ms]
        return hashlib.blake2b(orjson.dumps(parts), digest_size=16).hexdigest()

    def _inputs(self) -> dict[str, Any]:
        return self.inputs if self.due_ms is None else {**self.inputs, "due": as_time(self.due_ms).isoformat()}

    def decision_json(self) -> bytes:
        """The decision on the wire."""
        written: dict[str, Any] = {
            "id": self.decision_id(),
            "trigger": self.trigger,
            "rule_hash": self.rule_hash,
            "user_id": self.user_id,
            "occurrence": self.occurrence,
            "step": self.step,
            "outcome": self.outcome,
        }
        if self.reason is not None:
            written["reason"] = self.reason
        written["gates"] = [answer.json() for answer in self.answers]
        written["event_ids"] = self.event_ids
        written["inputs"] = self._inputs()
        written["decided_at"] = _instant(self.at_ms)
        if self.command_id is not None:
            written["command_id"] = self.command_id
        return orjson.dumps(written)

    def command_json(self) -> bytes | None:
        """The command on the wire, where the decision sends."""
        message = self.message
        if message is None:
            return None
        written: dict[str, Any] = {
            "id": message.command_id,
            "trigger": self.trigger,
            "rule_hash": self.rule_hash,
            "occurrence": self.occurrence,
            "step": self.step,
            "user_id": self.user_id,
            "channel": message.channel,
        }
        if message.to is not None:
            written["to"] = message.to
        written["template"] = message.template
        written["template_hash"] = message.template_hash
        if message.variant is not None:
            written["variant"] = message.variant
        written["purpose"] = message.purpose
        written["data"] = message.data
        written["decided_at"] = _instant(self.at_ms)
        written["expires_at"] = _instant(message.expires_ms)
        written["priority"] = message.priority
        return orjson.dumps(written)

    def decision(self) -> Decision:
        """The decision as its model."""
        return Decision(
            id=self.decision_id(),
            trigger=self.trigger,
            rule_hash=self.rule_hash,
            user_id=self.user_id,
            occurrence=self.occurrence,
            step=self.step,
            outcome=self.outcome,
            reason=self.reason,
            gates=[answer.model() for answer in self.answers],
            event_ids=self.event_ids,
            inputs=self._inputs(),
            decided_at=as_time(self.at_ms),
            command_id=self.command_id,
        )

    def command(self) -> SendCommand | None:
        """The command as its model, where the decision sends."""
        message = self.message
        if message is None:
            return None
        return SendCommand(
            id=message.command_id,
            trigger=self.trigger,
            rule_hash=self.rule_hash,
            occurrence=self.occurrence,
            step=self.step,
            user_id=self.user_id,
            channel=message.channel,
            to=message.to,
            template=message.template,
            template_hash=message.template_hash,
            variant=message.variant,
            purpose=message.purpose,
            data=message.data,
            decided_at=as_time(self.at_ms),
            expires_at=as_time(message.expires_ms),
            priority=message.priority,
        )

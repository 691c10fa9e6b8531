"""Outcomes: what became of each command, from our own delivery, the receiver and the reader."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.brands import BrandName
from schemas.digests import digest
from schemas.types import Count, Id, Instant, Name, PublishedFact
from schemas.vocabulary import HARD, Evidence, OutcomeKind


class Reply(PublishedFact):
    """A server's answer: its code, its enhanced code (RFC 3463) if it gave one, and its text on one line."""

    code: Annotated[int, Field(ge=0, le=999)]
    enhanced: str | None = None
    text: Annotated[str, Field(max_length=1024)] = ""


class Outcome(PublishedFact):
    """One thing that happened to a command. Keyed by `user_id`.

    Delivery judges a reply once: `classification` is its class (`ReplyClass`) or delivery's own reason, `hard` says
    whether the address is to get no mail any more, and `classifier_hash` names the rules that found it. Readers ask
    `is_hard` and judge nothing themselves.
    """

    id: Id
    command_id: Id
    user_id: Id
    trigger: Name | None = None
    purpose: Name | None = None
    step: Name | None = None
    variant: str | None = None
    brand: BrandName | None = None
    decided_at: Instant | None = None
    """When streams decided the command. Like the five before, it says what the command was, where the writer knows."""
    channel: Literal["email", "webhook"] = "email"
    kind: OutcomeKind
    time: Instant
    provider: Annotated[str, Field(max_length=128)] = ""
    reply: Reply | None = None
    classification: str | None = None
    hard: bool | None = None
    classifier_hash: str | None = None
    attempt: Count = 0
    machine: bool | Literal["unknown"] = "unknown"
    evidence: Evidence | None = None
    """By what `machine` was found, of what a reader did."""
    url: Annotated[str, Field(max_length=2048)] | None = None

    @property
    def is_hard(self) -> bool:
        """Whether the address is to get no mail any more.

        Of a bounce whose publisher does not say, its class decides. Its reply is not judged again.
        """
        if self.hard is not None:
            return self.hard
        return self.kind is OutcomeKind.BOUNCED and self.classification in HARD


def outcome_id(command: str, kind: OutcomeKind, attempt: int) -> str:
    """The id of delivery's own outcome: the same attempt reported twice is one fact with one id."""
    return digest([command, kind, attempt])

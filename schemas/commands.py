"""Send commands: what delivery is to send. A command on the topic is sendable now."""

from typing import Annotated

from pydantic import Field

from schemas.brands import BrandName
from schemas.budgets import Budget
from schemas.digests import digest
from schemas.types import Address, Fact, Id, Instant, Name, Properties

DEFAULT_PRIORITY = 50
MAX_PRIORITY = 100
"""The lowest is 0."""
MAX_BUDGETS = 16
"""Of one command: its trigger's, and those of the policies that it obeys."""


class SendCommand(Fact):
    """One message to one user, or one call of an endpoint. Keyed by `user_id`.

    `to` is set only if the rule writes an address. `purpose` is the consent that it needs: with a brand,
    `brand/purpose`. On the channel `webhook` (`schemas.endpoints`), `template` is the endpoint's name and
    `template_hash` is empty: delivery takes the endpoint as it is published when it sends.
    """

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    trigger: Name
    rule_hash: str
    occurrence: str
    step: Name
    user_id: Id
    channel: Name = "email"
    to: Address | None = None
    template: Name
    template_hash: str
    variant: str | None = None
    brand: BrandName | None = None
    purpose: Name
    budgets: Annotated[tuple[Budget, ...], Field(max_length=MAX_BUDGETS)] | None = None
    """What delivery must have room in before it lets the command through."""
    data: Properties = Field(default_factory=dict)
    decided_at: Instant
    expires_at: Instant
    priority: Annotated[int, Field(ge=0, le=MAX_PRIORITY)] = DEFAULT_PRIORITY


def command_id(trigger: str, user_id: str, occurrence: str, step: str) -> str:
    """The id of a send: blake2b-128 of `[trigger, user_id, occurrence, step]`.

    The same occurrence gives the same id after any replay, restart or rule edit, which is what makes a command
    sent twice recognisable everywhere it appears.
    """
    return digest([trigger, user_id, occurrence, step])

"""What a channel is: a way by which mails leave, such as an SMTP relay or the HTTP interface of a provider.

Delivery knows channels only by this protocol. A channel says once what became of a mail, as a SendResult; nothing else
looks at the codes of its answers.
"""

from dataclasses import dataclass
from typing import Protocol

from schemas.errors import UserError
from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState, ReplyClass


class RealMailRefused(UserError):
    """The mail would leave this machine, and nobody has allowed that."""


class Unreachable(ConnectionError):
    """The server cannot be reached or will not talk; nothing was sent, and no command is to blame."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one mail. `reply` is absent where the server gave none.

    `reason` of a reply of 4xx or 5xx is its class. `hard_bounce` where the address is to get no mail any more.
    """

    state: LedgerState
    reason: DeliveryReason | ReplyClass | None = None
    reply: Reply | None = None
    hard_bounce: bool = False


class ChannelClient(Protocol):
    """One client of a channel, used by one task for one mail at a time."""

    @property
    def connected(self) -> bool:
        """Whether the server holds a connection of this client."""

    @property
    def handed_over(self) -> bool:
        """Whether the server may have the mail of the last `send`, also where `send` raised."""

    async def connect(self) -> None:
        """Get ready to send; raises Unreachable or RealMailRefused."""

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:
        """Send one mail. Raises Unreachable or RealMailRefused where the server took nothing of it."""

    async def close(self) -> None:
        """Close the connection. Never raises for what the server answers."""


class Channel(Protocol):
    """Makes the clients of one channel. Safe to share between tasks."""

    @property
    def place(self) -> str:
        """Where mails go, as people write it."""

    @property
    def longest_send_s(self) -> float:
        """More than a `send` takes that uses up each of its time-outs."""

    async def check(self) -> None:
        """Raise RealMailRefused where the settings forbid to send there, Unreachable where that cannot be told."""

    def client(self) -> ChannelClient:
        """A new client, not connected yet."""

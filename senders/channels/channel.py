"""The protocol of a channel: a way to send mails, such as an SMTP relay, or webhooks.

Delivery knows channels only by this protocol. Only the channel reads the codes of its server's replies; it gives one
SendResult for each mail. A webhook is sent as a mail is: its id in the place of the return path.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from schemas.errors import UserError
from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.shaping.document import SmtpState


class RealMailRefused(UserError):
    """The mail would leave this machine, and the settings do not allow that."""


class Unreachable(ConnectionError):
    """The server cannot be reached, or accepts no connection. Nothing was sent, and no command is at fault.

    `reply` is what it said to the connection, if it said anything, and `answered` what that reply answered.
    """

    def __init__(self, text: str, reply: Reply | None = None, answered: SmtpState = SmtpState.GREETING) -> None:
        super().__init__(text)
        self.reply = reply
        self.answered = answered


class LookupFailed(Unreachable):
    """The DNS does not say now where the mails of a domain go. Other domains of its servers are not concerned."""


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of one mail. `reply` is None if the server gave none.

    For a reply of 4xx or 5xx, `reason` is its class (`ReplyClass`, or one of the operator's rules), `hard` says that
    the address must get no mail any more, and `classifier_hash` names the rules that found it. `answered` is what the
    reply answered. `asked` is how long the server asks to wait, if it says so outside of the reply's text.
    """

    state: LedgerState
    reason: DeliveryReason | str | None = None
    reply: Reply | None = None
    hard: bool = False
    classifier_hash: str | None = None
    answered: SmtpState | None = None
    asked: timedelta | None = None


class NoDestination(Exception):
    """No server takes mail for a domain, as far as its DNS says; `result` is that of each mail to it."""

    def __init__(self, text: str, result: SendResult) -> None:
        super().__init__(text)
        self.result = result


@dataclass(frozen=True, slots=True)
class MailPath:
    """The way that a mail took: the host by name and address, our own address, and the version of TLS, if any."""

    host: str
    address: str
    source: str
    tls: str | None


Tracer = Callable[[str], None]
"""Takes the lines of a conversation that somebody watches, without addresses and without a mail's content."""


class ChannelClient(Protocol):
    """One client of a channel, used by one task for one mail at a time."""

    tracer: Tracer | None
    """Who watches the conversation about the mail that is sent now."""

    @property
    def path(self) -> MailPath | None:
        """The way of the last mail, or that of the open connection; None before the first."""

    @property
    def connected(self) -> bool:
        """Whether this client has an open connection."""

    @property
    def usable(self) -> bool:
        """Whether the open connection may carry another mail."""

    @property
    def handed_over(self) -> bool:
        """Whether the server may have the mail of the last `send`, even if `send` raised."""

    async def connect(self) -> None:
        """Connect unless connected; raises Unreachable or RealMailRefused."""

    async def send(self, mail_from: str, to: str, message: bytes) -> SendResult:
        """Send one mail. Raises Unreachable or RealMailRefused if no server accepted any of it."""

    async def close(self) -> None:
        """Close the connection. Never raises because of what the server answers."""


class Channel(Protocol):
    """Makes the clients of one channel. Safe to share between tasks."""

    @property
    def server(self) -> str:
        """The server that mails go to, for people to read."""

    @property
    def longest_send_s(self) -> float:
        """More than one `send` can take if each of its time-outs runs to its end."""

    async def check(self) -> None:
        """Raise RealMailRefused if the settings forbid this server, and Unreachable if its address is not known."""

    def client(self, after: ChannelClient | None = None) -> ChannelClient:
        """A new client. It has the connection of the one that it comes `after`, which is used no more."""

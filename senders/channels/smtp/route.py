"""A route: the hosts that may take a mail, in order, and how to talk to them. A relay is one, and so is a set of MX.

Values only: `senders.channels.smtp.relay` makes them from the settings, `senders.channels.dns` from the DNS.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from pydantic import SecretStr

from senders.shaping.keys import TlsPolicy


@dataclass(frozen=True, slots=True)
class TlsaRecord:
    """What DANE says of a host's certificate (RFC 6698, 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes


@dataclass(frozen=True, slots=True)
class MailHost:
    """One server of a route.

    Without `addresses` the system's resolver finds them at each connect. With `tlsa` the host must offer TLS. If one of
    these records is usable, the host must prove itself by DANE, whatever `tls` says, and `tls_name` is the name that it
    must have for that; if none is, `tls` still says what it must prove.
    """

    name: str
    port: int = 25
    preference: int = 0
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC
    addresses: tuple[str, ...] = ()
    tlsa: tuple[TlsaRecord, ...] = ()
    tls_name: str | None = None

    @property
    def server(self) -> str:
        """Host and port."""
        return f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password, which only a host with verified TLS gets to see."""

    user: str
    password: SecretStr


@dataclass(frozen=True, slots=True)
class SmtpLimits:
    """How long we wait for a host, and how long a session lives."""

    connect_s: float = 60.0
    """For each of: connection, greeting."""
    hello_s: float = 60.0
    """For each of: EHLO, AUTH."""
    starttls_s: float = 60.0
    mail_s: float = 60.0
    rcpt_s: float = 60.0
    data_s: float = 60.0
    """For the reply to DATA, and for a piece of content to be taken."""
    final_reply_s: float = 600.0
    """RFC 5321, 4.5.3.2.6. A shorter wait turns slow receivers into commands in doubt."""
    reset_s: float = 60.0
    idle_s: float = 30.0
    mails: int = 100

    @classmethod
    def alike(
        cls, connect_s: float, command_s: float, final_reply_s: float, idle_s: float = 30.0, mails: int = 100
    ) -> "SmtpLimits":
        """The same wait for each step until a session is open, and for each reply in it but the final one."""
        return cls(
            connect_s=connect_s,
            hello_s=connect_s,
            starttls_s=connect_s,
            mail_s=command_s,
            rcpt_s=command_s,
            data_s=command_s,
            final_reply_s=final_reply_s,
            reset_s=command_s,
            idle_s=idle_s,
            mails=mails,
        )

    @property
    def longest_mail_s(self) -> float:
        """How long the commands of a mail can take, the reply to its content apart."""
        return self.reset_s + self.mail_s + self.rcpt_s + self.data_s

    @property
    def longest_open_s(self) -> float:
        """How long the hosts of a route are tried before it counts as unreachable."""
        return 6 * self.connect_s


@dataclass(frozen=True, slots=True)
class MailRoute:
    """`name` is for people: the relay, or the site. Hosts with a lower preference come first."""

    name: str
    hosts: tuple[MailHost, ...]
    hello: str = "localhost"
    source: str | None = None
    """The local address that connections come from."""
    login: Login | None = field(default=None, repr=False)
    broken_tls_s: float | None = None
    """How long broken opportunistic TLS is remembered, if not as usual."""
    limits: SmtpLimits = SmtpLimits()

    def ordered(self, last: str | None = None, chance: Callable[[], float] = random.random) -> Sequence[MailHost]:
        """The hosts by preference, equal ones in any order (RFC 5321, 5.1); the host named `last` comes last."""
        return sorted(self.hosts, key=lambda host: (host.name == last, host.preference, chance()))


FindRoute = Callable[[], Awaitable[MailRoute]]
"""The route as it is now: a relay has the same one always, that of a domain changes with its DNS."""

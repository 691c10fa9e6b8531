"""What the DNS says of a recipient's domain: the hosts that take its mail, and what each must prove. A value."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from schemas.digests import digest
from senders.channels.smtp.route import MailHost, MailRoute, SmtpLimits
from senders.shaping.keys import TlsPolicy
from senders.shaping.sites import Destination

_BY_STRICTNESS: Final = (TlsPolicy.OFF, TlsPolicy.OPPORTUNISTIC, TlsPolicy.REQUIRED, TlsPolicy.VERIFIED)


def stricter(one: TlsPolicy, other: TlsPolicy) -> TlsPolicy:
    """The policy that satisfies both."""
    return max(one, other, key=_BY_STRICTNESS.index)


@dataclass(frozen=True, slots=True)
class MailDomain:
    """`hosts` are those that may get mail now; `mx_hosts` names the whole set, which sites and providers are known by.

    A host's `tls` is what the domain's own MTA-STS policy demands of it; `off` is no demand.
    """

    domain: str
    mx_hosts: frozenset[str]
    hosts: tuple[MailHost, ...]

    @property
    def destination(self) -> Destination:
        """The domain and its whole MX set."""
        return Destination(self.domain, self.mx_hosts)

    @property
    def lane_site(self) -> str:
        """Domains that share this may share connections: the site, and what the domain itself demands of its hosts.

        A policy belongs to its domain, so it counts before domains with the same MX hosts become one site. Limits
        belong to `destination.site`, whatever the demands.
        """
        demands = sorted(
            [host.name, host.tls.value, *(record.data.hex() for record in host.tlsa)]
            for host in self.hosts
            if host.tlsa or host.tls is not TlsPolicy.OFF
        )
        return self.destination.site + (f"+{digest(demands)[:8]}" if demands else "")

    def without_dane(self) -> "MailDomain":
        """The same, whatever its TLSA records say."""
        return replace(self, hosts=tuple(replace(host, tlsa=(), tls_name=None) for host in self.hosts))

    def route(
        self,
        *,
        tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC,
        hello: str = "localhost",
        source: str | None = None,
        limits: SmtpLimits | None = None,
        broken_tls_s: float | None = None,
    ) -> MailRoute:
        """The route for a lane, whose own TLS policy the domain's can only make stricter."""
        hosts = tuple(replace(host, tls=stricter(host.tls, tls)) for host in self.hosts)
        return MailRoute(
            self.lane_site,
            hosts,
            hello=hello,
            source=source,
            broken_tls_s=broken_tls_s,
            limits=limits or SmtpLimits(),
        )


def best_hosts(mx: Iterable[tuple[int, str]], most: int) -> list[tuple[int, str]]:
    """The hosts of an MX set by preference, each once with its lowest, no more than `most`."""
    found: dict[str, int] = {}
    for preference, host in sorted(mx):
        found.setdefault(host, preference)
    return [(preference, host) for host, preference in list(found.items())[:most]]

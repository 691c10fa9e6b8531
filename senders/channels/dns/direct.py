"""Straight to the mail servers of a recipient's domain: the DNS of the settings, and a channel for one domain."""

from collections.abc import Awaitable, Callable

from senders.channels.dns.mail_domain import MailDomain
from senders.channels.dns.mail_domains import MailDomains
from senders.channels.dns.resolver import DnsResolver
from senders.channels.dns.sts import StsPolicies
from senders.channels.smtp.channel import SmtpChannel
from senders.channels.smtp.connector import Connector
from senders.channels.smtp.route import MailRoute, SmtpLimits
from senders.settings import SenderSettings, dns_server
from senders.shaping.keys import TlsPolicy


def mail_domains(settings: SenderSettings) -> MailDomains:
    """One for a process: its caches are what makes it fast."""
    resolver = DnsResolver([dns_server(server) for server in settings.dns_servers])
    policies = StsPolicies(resolver, allow_private=settings.allow_private_mx)
    return MailDomains(resolver, policies, allow_private=settings.allow_private_mx, dane=settings.dane)


def direct_channel(
    find: Callable[[], Awaitable[MailDomain]],
    domain: str,
    opener: Connector,
    *,
    tls: TlsPolicy = TlsPolicy.OPPORTUNISTIC,
    hello: str = "localhost",
    source: str | None = None,
    limits: SmtpLimits | None = None,
    broken_tls_s: float | None = None,
) -> SmtpChannel:
    """The channel to a domain's mail servers, as `find` names them at each connect."""
    patience = limits or SmtpLimits()

    async def find_route() -> MailRoute:
        found = await find()
        return found.route(tls=tls, hello=hello, source=source, limits=patience, broken_tls_s=broken_tls_s)

    return SmtpChannel(domain, find_route, opener, patience)

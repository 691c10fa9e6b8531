"""How lanes send: to the relay of the settings, or to the relays and mail servers that a shaping file names.

Without a shaping file and with a relay, all mails go on one lane, and its limits are those of the settings.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from senders.channels.channel import Channel, NoDestination
from senders.channels.dns.direct import direct_channel, mail_domains
from senders.channels.dns.mail_domain import MailDomain
from senders.channels.smtp.channel import SmtpChannel
from senders.channels.smtp.relay import connector, relay_route
from senders.channels.smtp.route import MailHost, MailRoute, SmtpLimits
from senders.settings import SenderSettings
from senders.shaping.document import SourceTable
from senders.shaping.file import ShapingFile, built_in
from senders.shaping.keys import DEFAULTS, LaneKeys, TlsPolicy
from senders.shaping.resolution import Egress
from senders.shaping.sites import Destination


@dataclass(frozen=True, slots=True)
class LaneRoute:
    """How mails of an egress are sent. Egresses of a lane with the same `demands` can share connections."""

    channel: Channel
    demands: str = ""


FindLaneRoute = Callable[[Egress], Awaitable[LaneRoute]]


class LaneRoutes(Protocol):
    """What lanes are, and where they lead."""

    @property
    def server(self) -> str:
        """Where mails go, for people to read."""

    @property
    def one_lane(self) -> bool:
        """Whether there is one lane, whose limits are each worker's own."""

    @property
    def longest_send_s(self) -> float:
        """More than one mail can take if each of its time-outs runs to its end."""

    @property
    def file(self) -> ShapingFile:
        """The limits that hold until another file is in force."""

    async def check(self) -> None:
        """Raise RealMailRefused if the settings forbid these servers, and Unreachable if an address is not known."""

    async def look_up(self, domain: str) -> Destination:
        """The destination of a domain; raises Unreachable if it is not known now."""

    async def find_route(self, egress: Egress) -> LaneRoute:
        """How mails go on a way; raises Unreachable if that is not known now."""

    def problems(self) -> list[str]:
        """What is wrong with the ways of all mails now, and what to do."""

    def reshape(self, file: ShapingFile) -> None:
        """Another file is in force."""


class RelayRoutes:
    """All mails go to the relay of the settings, on one lane."""

    one_lane = True

    def __init__(self, settings: SenderSettings) -> None:
        self._channel = SmtpChannel.of(settings)
        self._route = LaneRoute(self._channel)
        self.file = built_in(_keys_of(settings))

    @property
    def server(self) -> str:
        """The relay."""
        return self._channel.server

    @property
    def longest_send_s(self) -> float:
        """As the channel says."""
        return self._channel.longest_send_s

    async def check(self) -> None:
        """As the channel does."""
        await self._channel.check()

    async def look_up(self, domain: str) -> Destination:
        """The relay is the one host of every domain."""
        return Destination(domain, frozenset({self.server}))

    async def find_route(self, _egress: Egress) -> LaneRoute:
        """The relay."""
        return self._route

    def problems(self) -> list[str]:
        """None: that the relay is away is an outage."""
        return []

    def reshape(self, _file: ShapingFile) -> None:
        """Nothing: the settings never change."""


class ShapedRoutes:
    """Mails go by a shaping file: a source's to its relays; if it names none, as the settings say."""

    one_lane = False

    def __init__(self, settings: SenderSettings, file: ShapingFile) -> None:
        self._settings = settings
        self._domains = mail_domains(settings)
        self._connector = connector(settings)
        self.file = file

    @property
    def server(self) -> str:
        """The relay, or what stands for the servers of all domains."""
        return relay_route(self._settings).name if self._settings.route == "relay" else "mx"

    @property
    def longest_send_s(self) -> float:
        """By the time-outs that hold where the file says nothing."""
        limits = limits_of(self.file.base)
        return SmtpChannel.to(MailRoute("longest", (), limits=limits), self._connector).longest_send_s

    async def check(self) -> None:
        """Check the relay of the settings, if mails go there; every other address is checked when it is known."""
        if self._settings.route == "relay":
            await self._connector.check(relay_route(self._settings))

    async def look_up(self, domain: str) -> Destination:
        """By the DNS. A domain that takes no mail is a destination without hosts: `find_route` leads to its answer."""
        try:
            found = await self._domains.find(domain)
        except NoDestination:
            return Destination(domain, frozenset())
        return Destination(domain, found.mx_hosts)

    async def find_route(self, egress: Egress) -> LaneRoute:
        """The relays of the source, the relay of the settings, or the mail servers of the domain."""
        source = self.file.document.source.get(egress.source, SourceTable())
        if source.relays:
            return LaneRoute(SmtpChannel.to(self._relays(egress, source), self._connector))
        if self._settings.route == "relay":
            return LaneRoute(SmtpChannel.to(self._relay(egress, source), self._connector))
        return await self._direct(egress, source)

    async def _direct(self, egress: Egress, source: SourceTable) -> LaneRoute:
        """The mail servers of the domain. If it takes no mail, the channel gives that answer to each mail."""
        keys = egress.keys

        async def find() -> MailDomain:
            found = await self._domains.find(egress.domain, sts=keys.enable_mta_sts is not False)
            return found if keys.enable_dane else found.without_dane()

        try:
            demands = (await find()).lane_site
        except NoDestination:
            demands = ""
        channel = direct_channel(
            find,
            egress.domain,
            self._connector,
            tls=keys.tls or TlsPolicy.OPPORTUNISTIC,
            hello=source.ehlo_name or self._settings.smtp_hello,
            source=_address(source, self._settings),
            limits=limits_of(keys),
            broken_tls_s=_seconds(keys, "remember_broken_tls"),
        )
        return LaneRoute(channel, demands)

    def _relay(self, egress: Egress, source: SourceTable) -> MailRoute:
        """The relay of the settings, with its own TLS and login."""
        route = relay_route(self._settings)
        return MailRoute(
            route.name,
            route.hosts,
            hello=source.ehlo_name or route.hello,
            source=_address(source, self._settings),
            login=route.login,
            broken_tls_s=_seconds(egress.keys, "remember_broken_tls"),
            limits=limits_of(egress.keys),
        )

    def _relays(self, egress: Egress, source: SourceTable) -> MailRoute:
        """The relays of a source, in their order: the first that answers takes the mail."""
        tls = egress.keys.tls or TlsPolicy.OPPORTUNISTIC
        named = [relay.rpartition(":") for relay in source.relays]
        hosts = [MailHost(name.strip("[]"), int(port), at, tls) for at, (name, _, port) in enumerate(named)]
        return MailRoute(
            ", ".join(source.relays),
            tuple(hosts),
            hello=source.ehlo_name or self._settings.smtp_hello,
            source=_address(source, self._settings),
            broken_tls_s=_seconds(egress.keys, "remember_broken_tls"),
            limits=limits_of(egress.keys),
        )

    def problems(self) -> list[str]:
        """Those of the lookups."""
        return self._domains.problems()

    def reshape(self, file: ShapingFile) -> None:
        """Sources and relays are those of the new file from now on."""
        self.file = file


def _address(source: SourceTable, settings: SenderSettings) -> str | None:
    """The local address of a source. Of one with both families IPv4 is used."""
    found = source.address or source.address6
    return str(found) if found is not None else settings.smtp_source


def limits_of(keys: LaneKeys) -> SmtpLimits:
    """The time-outs and limits of a session, by the keys of a lane."""
    return SmtpLimits(
        connect_s=max(_seconds(keys, "connect_timeout"), _seconds(keys, "banner_timeout")),
        hello_s=_seconds(keys, "ehlo_timeout"),
        starttls_s=_seconds(keys, "starttls_timeout"),
        mail_s=_seconds(keys, "mail_from_timeout"),
        rcpt_s=_seconds(keys, "rcpt_to_timeout"),
        data_s=_seconds(keys, "data_timeout"),
        final_reply_s=_seconds(keys, "data_dot_timeout"),
        reset_s=_seconds(keys, "rset_timeout"),
        idle_s=_seconds(keys, "idle_timeout"),
        mails=keys.max_deliveries_per_connection or 1,
    )


def _seconds(keys: LaneKeys, key: str) -> float:
    value: timedelta | None = getattr(keys, key)
    found: timedelta = getattr(DEFAULTS, key) if value is None else value
    return found.total_seconds()


def _keys_of(settings: SenderSettings) -> LaneKeys:
    """The limits of the one lane to the relay. There is no rate."""
    return LaneKeys.model_construct(
        connection_limit=settings.connections,
        max_deliveries_per_connection=settings.mails_per_connection,
        retry_interval=timedelta(seconds=settings.retry_first_s),
        max_retry_interval=timedelta(seconds=settings.retry_longest_s),
        idle_timeout=timedelta(seconds=settings.idle_connection_s),
    )

"""Connections of a lane that go from one domain to another, to a receiver that keeps count."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drivers.mail_receiver import Receiver, running

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from schemas.vocabulary import LedgerState, ReplyClass
from senders.bounces.classifier import load_classifier
from senders.channels.channel import NoDestination, SendResult
from senders.channels.lane_routes import LaneRoute
from senders.channels.smtp.channel import SmtpChannel
from senders.channels.smtp.connector import Connector
from senders.channels.smtp.route import MailHost, MailRoute, SmtpLimits
from senders.delivery.lane_connections import LaneConnections
from senders.shaping.lane_state import LaneKey, LaneState
from senders.shaping.loader import parse
from senders.shaping.resolution import Egress, resolve
from senders.shaping.sites import Destination


class SharedSite:
    """Two domains at one site. Those in `gone` do not exist any more."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.gone: set[str] = set()
        self.takes_slots = False
        """Whether another worker takes the slots of a connection while it is opened."""
        self.opener = Connector(load_classifier(None), allow_real_mail=False)
        self.connections = LaneConnections(
            AsyncDatabase("postgresql://nobody@127.0.0.1:1/none", Outage("timescale")), "w", self.find, shared=False
        )
        first = self.way("first.example")
        self.lane = LaneState(LaneKey(first.source, first.site), first)

    def way(self, domain: str) -> Egress:
        """The way to a domain of the site."""
        return resolve(parse(b"", "f"), Destination.of(domain, ["mx.site.example"]), "a")

    async def find(self, egress: Egress) -> LaneRoute:
        """The route of a domain, which is looked up at each connect."""

        async def route() -> MailRoute:
            if self.takes_slots:
                for each in self.connections._all():
                    each.lost = True
            if egress.domain in self.gone:
                raise NoDestination("gone", SendResult(LedgerState.REFUSED, ReplyClass.BAD_DOMAIN, hard=True))
            return MailRoute(egress.site, (MailHost("127.0.0.1", self.receiver.port),))

        return LaneRoute(SmtpChannel(egress.domain, route, self.opener, SmtpLimits()), "the same")


@asynccontextmanager
async def shared_site() -> AsyncIterator[SharedSite]:
    async with running(Receiver()) as receiver:
        site = SharedSite(receiver)
        yield site
        await site.connections.close_all()


async def test_a_session_goes_on_with_another_domain_that_demands_the_same() -> None:
    async with shared_site() as site:
        made = await site.connections.open(site.lane, site.lane.egress)
        assert made is not None
        await site.connections.turn_to(made, site.lane, site.way("second.example"))
        await made.client.send("from@shop.example", "to@second.example", b"Subject: s\r\n\r\nx\r\n")

        assert (site.receiver.connections, site.receiver.mails) == (1, 1)


async def test_a_session_that_is_lost_is_opened_anew_by_the_domain_of_its_mail() -> None:
    async with shared_site() as site:
        made = await site.connections.open(site.lane, site.lane.egress)
        assert made is not None
        await site.connections.turn_to(made, site.lane, site.way("second.example"))
        site.gone = {"first.example"}
        site.receiver.answers["MAIL"] = lambda _: site.receiver.answers.clear()  # hangs up, once
        result = await made.client.send("from@shop.example", "to@second.example", b"Subject: s\r\n\r\nx\r\n")

        assert result.state is LedgerState.ACCEPTED
        assert site.receiver.connections == 2


async def test_a_connection_whose_slots_were_lost_while_it_was_opened_is_not_used() -> None:
    async with shared_site() as site:
        site.takes_slots = True

        assert await site.connections.open(site.lane, site.lane.egress) is None
        assert site.connections.idle(lambda _: -1.0) == []

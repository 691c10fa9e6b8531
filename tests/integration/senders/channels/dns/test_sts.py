"""MTA-STS over real DNS and HTTPS: fetched within bounds, kept by id and age, and applied to the domain's own mail."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from drivers.dns_server import SERVFAIL, Zones, serving
from drivers.hand_clock import HandClock
from drivers.mail_certificates import Authority
from drivers.mail_receiver import Receiver, running
from structlog.testing import capture_logs

from schemas.vocabulary import LedgerState
from senders.bounces.classifier import load_classifier
from senders.channels.channel import Unreachable
from senders.channels.dns.direct import direct_channel
from senders.channels.dns.mail_domains import FAILURE_KEEP_S, MailDomains
from senders.channels.dns.resolver import DnsResolver
from senders.channels.dns.sts import LARGEST_POLICY, RETRY_AFTER_S, StsPolicies
from senders.channels.smtp.connector import Connector
from senders.shaping.keys import TlsPolicy

ENFORCE = "version: STSv1\nmode: enforce\nmx: mx.shop.example\nmax_age: 86400\n"
DOMAIN = "shop.example"


@dataclass
class PolicyHost:
    """The web server of a domain's policy."""

    directory: Path
    authority: Authority
    text: str = ENFORCE
    status: int = 200
    content_type: str = "text/plain"
    headers: dict[str, str] = field(default_factory=dict)
    name: str = f"mta-sts.{DOMAIN}"
    requests: list[str] = field(default_factory=list)
    port: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(f"{request.host.partition(':')[0]}{request.path}")
        return web.Response(
            body=self.text.encode(), status=self.status, content_type=self.content_type, headers=self.headers
        )

    @asynccontextmanager
    async def running(self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[None]:
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.authority.vouch_for(self.name).context)
        await site.start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()


@dataclass
class PolicyWorld:
    """A domain with a policy, its DNS, and the policies as we see them."""

    zones: Zones
    host: PolicyHost
    clock: HandClock = field(default_factory=HandClock)

    def publish(self, version: str) -> None:
        self.zones.put(f"_mta-sts.{DOMAIN}", "TXT", f'"v=STSv1; id={version};"')

    def policies(self, *, allow_private: bool = True) -> StsPolicies:
        resolver = DnsResolver([("127.0.0.1", self.zones.port)])
        trusting = ssl.create_default_context(cafile=str(self.host.authority.file))
        return StsPolicies(resolver, allow_private=allow_private, port=self.host.port, tls=trusting, clock=self.clock)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[PolicyWorld]:
    host = PolicyHost(tmp_path, Authority(tmp_path))
    zones = Zones(ttl_s=0)  # so that the DNS is asked each time
    zones.host(f"mta-sts.{DOMAIN}", "127.0.0.1")
    zones.put(".", "NS", "a.root-servers.net.")
    async with serving(zones), host.running(host.answer):
        world = PolicyWorld(zones, host)
        world.publish("one")
        yield world


async def enforced(policies: StsPolicies) -> bool:
    return await policies.policy(DOMAIN) is not None


# fetching


async def test_a_policy_is_fetched_once_and_kept_while_its_id_stays(world: PolicyWorld) -> None:
    policies = world.policies()
    for _ in range(3):
        policy = await policies.policy(DOMAIN)
        assert policy is not None
        assert policy.patterns == ("mx.shop.example",)
    assert world.host.requests == ["mta-sts.shop.example/.well-known/mta-sts.txt"]
    world.publish("two")
    world.host.text = ENFORCE.replace("mx.shop", "new.shop")
    policy = await policies.policy(DOMAIN)
    assert policy is not None
    assert policy.patterns == ("new.shop.example",)
    assert len(world.host.requests) == 2


async def test_a_kept_policy_holds_until_its_age_even_if_all_else_is_away(world: PolicyWorld) -> None:
    policies = world.policies()
    assert await enforced(policies)
    world.zones.put(f"_mta-sts.{DOMAIN}", "TXT", SERVFAIL)
    world.host.status = 500
    world.clock.now = 86_399
    assert await enforced(policies)
    world.clock.now = 86_401
    assert not await enforced(policies)


async def test_a_new_policy_that_cannot_be_fetched_leaves_the_old_one(world: PolicyWorld) -> None:
    policies = world.policies()
    assert await enforced(policies)
    world.publish("two")
    world.host.text = "broken"
    with capture_logs() as logs:
        assert await enforced(policies)
        assert await enforced(policies)
    assert len(world.host.requests) == 2, "a failure is tried again only after a while"
    assert [line["event"] for line in logs] == ["sts_policy_not_fetched"]
    world.host.text = ENFORCE.replace("enforce", "none")
    world.clock.now = RETRY_AFTER_S + 1
    policy = await policies.policy(DOMAIN)
    assert policy is not None
    assert policy.mode == "none"


async def test_a_domain_without_a_record_has_no_policy_and_nothing_is_fetched(world: PolicyWorld) -> None:
    del world.zones.records[f"_mta-sts.{DOMAIN}", "TXT"]
    assert not await enforced(world.policies())
    assert world.host.requests == []


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 404},
        {"status": 302, "headers": {"Location": "https://mta-sts.shop.example/.well-known/mta-sts.txt"}},
        {"content_type": "text/html"},
        {"text": ENFORCE + "x" * LARGEST_POLICY},
        {"text": "\0\xff" * 100},
    ],
)
async def test_what_is_no_policy_file_is_no_policy(world: PolicyWorld, fault: dict[str, object]) -> None:
    for name, value in fault.items():
        setattr(world.host, name, value)
    assert not await enforced(world.policies())
    assert len(world.host.requests) == 1, "no redirect is followed"


async def test_a_web_server_with_a_certificate_of_another_name_gives_no_policy(world: PolicyWorld) -> None:
    other = PolicyHost(world.host.directory, world.host.authority, name="www.shop.example")
    async with other.running(other.answer):
        world.host.port = other.port
        assert not await enforced(world.policies())
    assert other.requests == []


async def test_an_endless_policy_file_is_cut_off(world: PolicyWorld) -> None:
    written = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        while written < 100_000_000:
            await response.write(b"mx: mx.shop.example\n" * 1000)
            written += 20_000
        return response

    other = PolicyHost(world.host.directory, world.host.authority)
    async with other.running(endless):
        world.host.port = other.port
        assert not await enforced(world.policies())
    assert written < 50_000_000


async def test_a_policy_host_inside_our_network_is_not_asked(world: PolicyWorld) -> None:
    assert not await enforced(world.policies(allow_private=False))
    assert world.host.requests == []


# mail


@asynccontextmanager
async def mailing(world: PolicyWorld, receiver: Receiver) -> AsyncIterator[MailDomains]:
    """Mail servers of two domains on one MX, only one of which has a policy."""
    resolver = DnsResolver([("127.0.0.1", world.zones.port)])
    async with running(receiver):
        for domain in (DOMAIN, "plain.example"):
            world.zones.put(domain, "MX", "10 mx.shop.example.")
        world.zones.host("mx.shop.example", "127.0.0.1")
        yield MailDomains(resolver, world.policies(), allow_private=True, port=receiver.port, clock=world.clock)


async def send(world: PolicyWorld, domains: MailDomains, domain: str) -> LedgerState:
    opener = Connector(load_classifier(), allow_real_mail=False, ca_file=world.host.authority.file)
    client = direct_channel(partial(domains.find, domain), domain, opener, tls=TlsPolicy.OPPORTUNISTIC).client()
    try:
        return (await client.send("hello@harbour.example", f"ann@{domain}", b"Subject: x\r\n\r\nx\r\n")).state
    finally:
        await client.close()


async def test_a_policy_demands_a_verified_host_for_its_own_domain_only(world: PolicyWorld) -> None:
    receiver = Receiver(tls=world.host.authority.vouch_for("other.example").context)
    async with mailing(world, receiver) as domains:
        with pytest.raises(Unreachable, match="certificate"):
            await send(world, domains, DOMAIN)
        assert await send(world, domains, "plain.example") is LedgerState.ACCEPTED
        strict, plain = await domains.find(DOMAIN), await domains.find("plain.example")
        assert strict.destination.site == plain.lane_site
        assert strict.lane_site != plain.lane_site
    assert receiver.mails == 1


async def test_a_host_that_satisfies_the_policy_gets_the_mail(world: PolicyWorld) -> None:
    receiver = Receiver(tls=world.host.authority.vouch_for("mx.shop.example").context)
    async with mailing(world, receiver) as domains:
        assert await send(world, domains, DOMAIN) is LedgerState.ACCEPTED
    assert receiver.secured_mails == 1


async def test_a_policy_that_matches_no_mx_makes_the_mail_of_its_domain_wait(world: PolicyWorld) -> None:
    world.host.text = ENFORCE.replace("mx.shop.example", "elsewhere.example")
    async with mailing(world, Receiver()) as domains:
        with pytest.raises(Unreachable, match="MTA-STS"):
            await send(world, domains, DOMAIN)
        assert await send(world, domains, "plain.example") is LedgerState.ACCEPTED
        world.host.text = ENFORCE.replace("enforce", "testing")
        world.publish("two")
        world.clock.now += FAILURE_KEEP_S + 1
        assert await send(world, domains, DOMAIN) is LedgerState.ACCEPTED

"""From a domain to its mail servers, over a real DNS server: MX of all kinds, failures, bounds, caches."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from drivers.dns_server import SERVFAIL, SILENT, Zones, serving
from drivers.hand_clock import HandClock
from structlog.testing import capture_logs

from schemas.vocabulary import LedgerState, ReplyClass
from senders.channels.channel import NoDestination, Unreachable
from senders.channels.dns.mail_domain import MailDomain
from senders.channels.dns.mail_domains import FAILURE_KEEP_S, LONGEST_S, MAX_HOSTS, MAX_NAMES, MailDomains
from senders.channels.dns.resolver import DnsResolver
from senders.channels.dns.sts import StsPolicies
from senders.channels.smtp.route import TlsaRecord
from senders.shaping.keys import TlsPolicy

OUTSIDE = "198.41.0.4"
"""An address on the internet that nobody here connects to."""


@pytest_asyncio.fixture
async def zones() -> AsyncIterator[Zones]:
    async with serving(Zones()) as running:
        running.put(".", "NS", "a.root-servers.net.")
        yield running


def domains(zones: Zones, **changes: Any) -> MailDomains:
    resolver = DnsResolver([("127.0.0.1", zones.port)], lookup_s=changes.pop("lookup_s", 5))
    private = changes.get("allow_private", False)
    return MailDomains(resolver, StsPolicies(resolver, allow_private=private), **changes)


def hosts(found: MailDomain) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(host.preference, host.name, host.addresses) for host in found.hosts]


async def refused(zones: Zones, domain: str, **changes: Any) -> tuple[ReplyClass, bool]:
    with pytest.raises(NoDestination) as none:
        await domains(zones, **changes).find(domain)
    result = none.value.result
    assert result.state is LedgerState.REFUSED
    assert isinstance(result.reason, ReplyClass)
    return result.reason, result.hard


# MX


async def test_the_hosts_come_with_preferences_and_all_their_addresses(zones: Zones) -> None:
    zones.put("shop.example", "MX", "20 Backup.Shop.Example.", "10 mx.shop.example.")
    zones.host("mx.shop.example", OUTSIDE, "2620:fe::fe")
    zones.host("backup.shop.example", "9.9.9.9")
    found = await domains(zones).find("shop.example")
    assert hosts(found) == [
        (10, "mx.shop.example", ("2620:fe::fe", OUTSIDE)),
        (20, "backup.shop.example", ("9.9.9.9",)),
    ]
    assert found.lane_site == found.destination.site == "(backup|mx).shop.example"


async def test_domains_with_the_same_hosts_are_one_site(zones: Zones) -> None:
    names = ["", "alt1.", "alt2.", "alt3.", "alt4."]
    for domain in ("one.example", "two.example"):
        zones.put(domain, "MX", *(f"{5 * number} {name}mail.big.example." for number, name in enumerate(names)))
    for name in names:
        zones.host(f"{name}mail.big.example", OUTSIDE)
    finder = domains(zones)
    sites = {(await finder.find(domain)).lane_site for domain in ("one.example", "two.example")}
    assert sites == {"(alt1|alt2|alt3|alt4)?.mail.big.example"}


async def test_a_domain_in_another_script_is_looked_up_by_its_a_labels(zones: Zones) -> None:
    zones.put("xn--bcher-kva.example", "MX", "10 mx.example.")
    zones.host("mx.example", OUTSIDE)
    found = await domains(zones).find("Bücher.example")
    assert (found.domain, hosts(found)) == ("xn--bcher-kva.example", [(10, "mx.example", (OUTSIDE,))])


async def test_a_domain_without_mx_is_its_own_host(zones: Zones) -> None:
    zones.host("plain.example", OUTSIDE)
    found = await domains(zones).find("plain.example")
    assert hosts(found) == [(0, "plain.example", (OUTSIDE,))]
    assert found.lane_site == "plain.example"


async def test_aliases_are_followed(zones: Zones) -> None:
    zones.put("www.example", "CNAME", "shop.example.")
    zones.put("shop.example", "MX", "10 mx.example.")
    zones.put("mx.example", "CNAME", "real.example.")
    zones.host("real.example", OUTSIDE)
    assert hosts(await domains(zones).find("www.example")) == [(10, "mx.example", (OUTSIDE,))]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({("no.example", "MX"): ["0 ."]}, (ReplyClass.NO_MAIL, True)),
        ({}, (ReplyClass.BAD_DOMAIN, True)),
        ({("no.example", "TXT"): ['"nothing of mail"']}, (ReplyClass.BAD_DOMAIN, True)),
    ],
)
async def test_a_domain_that_takes_no_mail_is_refused_for_good(
    zones: Zones, records: dict[tuple[str, str], list[str]], expected: tuple[ReplyClass, bool]
) -> None:
    zones.records.update(records)
    assert await refused(zones, "no.example") == expected


@pytest.mark.parametrize("domain", ["a" * 64 + ".example", "a..example", ".".join(["a" * 60] * 5), ""])
async def test_a_name_that_no_domain_can_have_is_refused_for_good(zones: Zones, domain: str) -> None:
    reason, hard = await refused(zones, domain)
    assert (reason, hard) == (ReplyClass.BAD_DOMAIN, True)
    assert all(name == "." for name, _ in zones.queries)


async def test_a_null_mx_beside_others_is_passed_over(zones: Zones) -> None:
    zones.put("odd.example", "MX", "0 .", "10 mx.example.")
    zones.host("mx.example", OUTSIDE)
    assert hosts(await domains(zones).find("odd.example")) == [(10, "mx.example", (OUTSIDE,))]


async def test_a_host_that_is_no_host_is_passed_over_and_alone_waits(zones: Zones) -> None:
    zones.put("odd.example", "MX", "5 192.0.2.1.", "7 gone.example.", "10 mx.example.")
    zones.host("mx.example", OUTSIDE)
    assert hosts(await domains(zones).find("odd.example")) == [(10, "mx.example", (OUTSIDE,))]
    zones.put("broken.example", "MX", "5 192.0.2.1.", "7 gone.example.")
    with pytest.raises(Unreachable, match="has no address"):
        await domains(zones).find("broken.example")


# addresses that no stranger may make us connect to


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",  # noqa: S104  # an address to refuse
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:7f00:1::1",
    ],
)
async def test_an_mx_that_leads_into_our_network_gets_no_mail(zones: Zones, address: str) -> None:
    zones.put("trap.example", "MX", "10 mx.trap.example.")
    zones.host("mx.trap.example", address)
    assert await refused(zones, "trap.example") == (ReplyClass.ROUTING_ERRORS, False)
    assert hosts(await domains(zones, allow_private=True).find("trap.example"))[0][1] == "mx.trap.example"


async def test_only_the_public_addresses_of_a_host_get_mail(zones: Zones) -> None:
    zones.put("mixed.example", "MX", "10 mx.example.", "20 inner.example.")
    zones.host("mx.example", "10.0.0.1", OUTSIDE, "::1")
    zones.host("inner.example", "192.168.0.1")
    assert hosts(await domains(zones).find("mixed.example")) == [(10, "mx.example", (OUTSIDE,))]


# failures


@pytest.mark.parametrize("kind", ["MX", "A"])
@pytest.mark.parametrize("failure", [SERVFAIL, SILENT])
async def test_a_lookup_that_fails_makes_the_mail_wait(zones: Zones, kind: str, failure: str) -> None:
    zones.put("slow.example", "MX", "10 mx.slow.example.")
    zones.put("mx.slow.example" if kind == "A" else "slow.example", kind, failure)
    with pytest.raises(Unreachable):
        await domains(zones, lookup_s=0.3).find("slow.example")


async def test_one_failing_host_does_not_stop_the_others(zones: Zones) -> None:
    zones.put("half.example", "MX", "10 bad.example.", "20 good.example.")
    zones.put("bad.example", "A", SERVFAIL)
    zones.put("bad.example", "AAAA", SERVFAIL)
    zones.host("good.example", OUTSIDE)
    assert hosts(await domains(zones).find("half.example")) == [(20, "good.example", (OUTSIDE,))]


async def test_a_failing_ipv6_lookup_leaves_the_ipv4_addresses(zones: Zones) -> None:
    zones.put("four.example", "MX", "10 mx.example.")
    zones.host("mx.example", OUTSIDE)
    zones.put("mx.example", "AAAA", SERVFAIL)
    assert hosts(await domains(zones).find("four.example")) == [(10, "mx.example", (OUTSIDE,))]


async def test_aliases_in_a_circle_make_the_mail_wait(zones: Zones) -> None:
    zones.put("a.example", "CNAME", "b.example.")
    zones.put("b.example", "CNAME", "a.example.")
    with pytest.raises(Unreachable):
        await domains(zones).find("a.example")


async def test_no_resolver_at_all_makes_the_mail_wait() -> None:
    with pytest.raises(Unreachable):
        await domains(Zones(port=9), lookup_s=0.3).find("shop.example")


# bounds and caches


async def test_a_set_of_a_thousand_hosts_is_bounded(zones: Zones) -> None:
    zones.put("huge.example", "MX", *(f"{number} mx{number}.huge.example." for number in range(1000)))
    for number in range(1000):
        zones.host(f"mx{number}.huge.example", OUTSIDE)
    began = time.monotonic()
    found = await domains(zones).find("huge.example")
    assert time.monotonic() - began < 5
    assert [host.name for host in found.hosts] == [f"mx{number}.huge.example" for number in range(MAX_HOSTS)]
    assert len(found.mx_hosts) == MAX_NAMES
    assert len(found.lane_site) < 250
    assert zones.queries.total() < 100


async def test_what_was_found_is_kept_by_its_ttl_within_bounds(zones: Zones) -> None:
    clock = HandClock()
    zones.ttl_s = 1_000_000
    zones.put("shop.example", "MX", "10 mx.example.")
    zones.host("mx.example", OUTSIDE)
    finder = domains(zones, clock=clock)
    found = await finder.find("shop.example")
    before = zones.queries.total()
    assert await finder.find("shop.example") is found
    clock.now = LONGEST_S - 1
    assert await finder.find("shop.example") is found
    clock.now = LONGEST_S + 1
    assert await finder.find("shop.example") is not found
    assert zones.queries.total() == before, "the DNS answers themselves are kept longer"


async def test_a_failure_is_kept_for_a_short_time(zones: Zones) -> None:
    clock = HandClock()
    zones.put("shop.example", "MX", SERVFAIL)
    finder = domains(zones, clock=clock)
    for _ in range(3):
        with pytest.raises(Unreachable):
            await finder.find("shop.example")
    asked = zones.queries["shop.example", "MX"]
    zones.put("shop.example", "MX", "10 mx.example.")
    zones.host("mx.example", OUTSIDE)
    with pytest.raises(Unreachable):
        await finder.find("shop.example")
    assert zones.queries["shop.example", "MX"] == asked
    clock.now = FAILURE_KEEP_S + 1
    assert hosts(await finder.find("shop.example")) == [(10, "mx.example", (OUTSIDE,))]


async def test_lookups_of_one_domain_at_the_same_time_are_one_even_if_the_first_is_cancelled(zones: Zones) -> None:
    zones.put("shop.example", "MX", "10 mx.example.")
    zones.host("mx.example", OUTSIDE)
    finder = domains(zones)
    first, *others = [asyncio.create_task(finder.find("shop.example")) for _ in range(50)]
    await asyncio.sleep(0)
    first.cancel()
    found = await asyncio.gather(*others)
    assert len(set(map(id, found))) == 1
    assert zones.queries["shop.example", "MX"] == 1


# DANE

KEY = hashlib.sha256(b"a key").digest()
RECORD = TlsaRecord(3, 1, 1, KEY)


def secured(zones: Zones, *, without: str = "") -> None:
    """A domain that signs all its DNS records but one part."""
    zones.put(".", "NS", "a.root-servers.net.", signed=without != "root")
    zones.put("safe.example", "MX", "10 mx.example.", signed=without != "MX")
    zones.host("mx.example", OUTSIDE, signed=without != "A")
    zones.put("_25._tcp.mx.example", "TLSA", f"3 1 1 {KEY.hex()}", signed=without != "TLSA")


async def test_tlsa_records_of_a_signed_domain_must_be_proven(zones: Zones) -> None:
    secured(zones)
    [host] = (await domains(zones).find("safe.example")).hosts
    assert (host.tlsa, host.tls_name) == ((RECORD,), "mx.example")


@pytest.mark.parametrize("without", ["root", "MX", "A", "TLSA"])
async def test_an_unsigned_link_of_the_chain_turns_dane_off(zones: Zones, without: str) -> None:
    secured(zones, without=without)
    finder = domains(zones)
    with capture_logs() as logs:
        [host] = (await finder.find("safe.example")).hosts
        await domains(zones, dane=False).find("safe.example")
    assert host.tlsa == ()
    assert finder.dane_works is (without != "root")
    assert [line["event"] for line in logs] == (["dane_off"] if without == "root" else [])


@pytest.mark.parametrize(("name", "kind"), [("_25._tcp.mx.example", "TLSA"), ("mx.example", "AAAA")])
async def test_a_failing_lookup_never_turns_dane_off(zones: Zones, name: str, kind: str) -> None:
    secured(zones)
    zones.put(name, kind, SERVFAIL)
    with pytest.raises(Unreachable):
        await domains(zones).find("safe.example")
    zones.put("safe.example", "MX", "10 mx.example.", "20 other.example.", signed=True)
    zones.host("other.example", OUTSIDE, signed=True)
    [host] = (await domains(zones).find("safe.example")).hosts
    assert host.name == "other.example"


async def test_tlsa_records_are_looked_for_at_the_end_of_the_aliases_first(zones: Zones) -> None:
    secured(zones)
    zones.records.pop(("mx.example", "A"))
    zones.put("mx.example", "CNAME", "real.example.", signed=True)
    zones.host("real.example", OUTSIDE, signed=True)
    [host] = (await domains(zones).find("safe.example")).hosts
    assert (host.tlsa, host.tls_name) == ((RECORD,), "mx.example")
    zones.put("_25._tcp.real.example", "TLSA", f"2 0 1 {KEY.hex()}", signed=True)
    [host] = (await domains(zones).find("safe.example")).hosts
    assert (host.tlsa, host.tls_name) == ((TlsaRecord(2, 0, 1, KEY),), "real.example")


async def test_domains_that_differ_in_dane_share_no_connections(zones: Zones) -> None:
    secured(zones)
    zones.put("plain.example", "MX", "10 mx.example.")
    finder = domains(zones)
    safe, plain = await finder.find("safe.example"), await finder.find("plain.example")
    assert safe.destination.site == plain.destination.site == plain.lane_site
    assert safe.lane_site != plain.lane_site


async def test_a_lane_can_only_make_the_policy_stricter(zones: Zones) -> None:
    zones.put("shop.example", "MX", "10 mx.example.")
    zones.host("mx.example", OUTSIDE)
    found = await domains(zones).find("shop.example")
    for policy in TlsPolicy:
        assert {host.tls for host in found.route(tls=policy).hosts} == {policy}

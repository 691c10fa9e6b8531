"""Routes of several hosts: their order, fail-over, addresses, and what each demands of TLS."""

import hashlib
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from drivers.free_ports import free_port
from drivers.mail_certificates import Authority
from drivers.mail_receiver import Receiver, Talk, running
from pydantic import SecretStr

from schemas.vocabulary import DeliveryReason, LedgerState
from senders.bounces.classifier import load_classifier
from senders.channels.channel import MailPath, RealMailRefused, SendResult, Unreachable
from senders.channels.smtp.channel import MAX_CONNECTIONS, SmtpChannel
from senders.channels.smtp.connector import Connector
from senders.channels.smtp.route import Login, MailHost, MailRoute, SmtpLimits, TlsaRecord
from senders.shaping.keys import TlsPolicy

MAIL = b"Subject: hello\r\n\r\nhello\r\n"
LIMITS = SmtpLimits.alike(connect_s=5, command_s=5, final_reply_s=5)
LOOPBACK = ("127.0.0.1",)


def host(receiver: Receiver, name: str = "mx.example", **changes: Any) -> MailHost:
    return replace(MailHost(name, receiver.port, addresses=LOOPBACK, tls=TlsPolicy.OFF), **changes)


def channel(*hosts: MailHost, ca_file: Path | None = None, **changes: Any) -> SmtpChannel:
    route = replace(MailRoute("site.example", hosts, limits=LIMITS), **changes)
    return SmtpChannel.to(route, Connector(load_classifier(), allow_real_mail=False, ca_file=ca_file))


async def send(channel: SmtpChannel, count: int = 1) -> list[SendResult]:
    client = channel.client()
    try:
        return [await client.send("hello@harbour.example", "ann@example.net", MAIL) for _ in range(count)]
    finally:
        await client.close()


def states(results: list[SendResult]) -> set[LedgerState]:
    return {result.state for result in results}


# order and fail-over


async def test_hosts_with_a_lower_preference_come_first_and_equal_ones_share_the_mails() -> None:
    first, second, third = Receiver(), Receiver(), Receiver()
    async with running(first), running(second), running(third):
        hosts = [
            host(third, "c.example", preference=20),
            host(first, "a.example", preference=10),
            host(second, "b.example", preference=10),
        ]
        site = channel(*hosts)
        for _ in range(30):
            assert states(await send(site)) == {LedgerState.ACCEPTED}
    assert first.mails + second.mails == 30
    assert first.mails > 0 < second.mails
    assert third.connections == 0


@pytest.mark.parametrize("greeting", [b"421 4.3.2 busy", b"554 5.7.1 go away", None])
async def test_a_host_that_accepts_no_session_is_passed_over_and_tried_last_for_a_while(greeting: bytes | None) -> None:
    busy, free = Receiver(answers={"CONNECT": lambda _: greeting}), Receiver()
    async with running(busy), running(free):
        site = channel(
            host(busy, "a.example", preference=1),
            host(free, "b.example", preference=2, addresses=("127.0.0.2", "127.0.0.1")),
        )
        assert states(await send(site)) == {LedgerState.ACCEPTED}
        assert states(await send(site)) == {LedgerState.ACCEPTED}
    assert free.mails == 2


async def test_a_421_in_the_middle_goes_to_the_next_host_at_once_and_costs_no_attempt() -> None:
    def after_two(talk: Talk) -> bytes:
        return b"421 4.7.0 too many" if talk.mails >= 2 else b"250 ok"

    first, second = Receiver(answers={"MAIL": after_two}), Receiver(answers={"MAIL": after_two})
    async with running(first), running(second):
        site = channel(host(first, "a.example", preference=1), host(second, "b.example", preference=2))
        assert states(await send(site, 6)) == {LedgerState.ACCEPTED}
    assert (first.mails, second.mails) == (4, 2)


async def test_a_mail_that_every_host_ends_at_is_deferred_after_three_connections() -> None:
    first, second = (Receiver(answers={"RCPT": lambda _: b"421 4.3.2 not now"}) for _ in range(2))
    async with running(first), running(second):
        [result] = await send(channel(host(first, "a.example"), host(second, "b.example")))
    assert result.state is LedgerState.DEFERRED
    assert first.connections + second.connections == MAX_CONNECTIONS
    assert first.connections > 0 < second.connections


async def test_no_host_at_all_is_unreachable_with_what_the_last_one_said() -> None:
    async with running(Receiver(answers={"CONNECT": lambda _: b"554 5.7.1 go away"})) as receiver:
        with pytest.raises(Unreachable, match="go away") as refused:
            await send(channel(MailHost("dead.example", free_port(), addresses=LOOPBACK), host(receiver, preference=1)))
    assert refused.value.reply is not None
    assert (refused.value.reply.code, refused.value.reply.enhanced) == (554, "5.7.1")


# addresses


async def test_an_address_of_the_other_family_that_does_not_answer_is_passed_over() -> None:
    async with running(Receiver()) as receiver:
        site = channel(host(receiver, addresses=("::1", "127.0.0.1")))
        assert states(await send(site)) == {LedgerState.ACCEPTED}


async def test_mail_goes_over_ipv6_where_that_answers() -> None:
    async with running(Receiver(host="::1")) as receiver:
        site = channel(host(receiver, addresses=("::1", "127.0.0.1")))
        assert states(await send(site)) == {LedgerState.ACCEPTED}


async def test_connections_come_from_the_source_address_and_only_to_its_family() -> None:
    peers = []

    def greet(talk: Talk) -> bytes:
        peers.append(talk.writer.get_extra_info("peername")[0])
        return b"220 test"

    async with running(Receiver(answers={"CONNECT": greet})) as receiver:
        site = channel(host(receiver, addresses=("::1", "127.0.0.1")), source="127.0.0.3", hello="out3.example")
        assert states(await send(site)) == {LedgerState.ACCEPTED}
    assert peers == ["127.0.0.3"]
    assert receiver.lines[0] == "EHLO out3.example"
    with pytest.raises(Unreachable, match="none of its addresses"):
        await send(channel(host(receiver, addresses=("::1",)), source="127.0.0.3"))


async def test_one_address_beyond_loopback_refuses_the_whole_route() -> None:
    async with running(Receiver()) as receiver:
        site = channel(host(receiver), host(receiver, "b.example", preference=9, addresses=("192.0.2.1",)))
        with pytest.raises(RealMailRefused):
            await send(site)
    assert receiver.connections == 0


# TLS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.mark.parametrize(
    ("policy", "secured"),
    [
        (TlsPolicy.OFF, 0),
        (TlsPolicy.OPPORTUNISTIC, 1),
        (TlsPolicy.REQUIRED, 1),
        (TlsPolicy.VERIFIED, 1),
    ],
)
async def test_a_host_with_a_good_certificate_satisfies_each_policy(
    authority: Authority, policy: TlsPolicy, secured: int
) -> None:
    async with running(Receiver(tls=authority.vouch_for("mx.example").context)) as receiver:
        assert states(await send(channel(host(receiver, tls=policy), ca_file=authority.file))) == {LedgerState.ACCEPTED}
    assert receiver.secured_mails == secured
    assert receiver.names == ["mx.example"] * secured


@pytest.mark.parametrize(
    ("policy", "accepted"), [(TlsPolicy.OPPORTUNISTIC, True), (TlsPolicy.REQUIRED, True), (TlsPolicy.VERIFIED, False)]
)
@pytest.mark.parametrize("fault", ["another name", "expired", "unknown authority"])
async def test_a_bad_certificate_matters_only_where_it_is_verified(
    authority: Authority, policy: TlsPolicy, accepted: bool, fault: str
) -> None:
    since = datetime.now(UTC) - timedelta(days=9) if fault == "expired" else None
    certificate = authority.vouch_for("other.example" if fault == "another name" else "mx.example", since)
    ca_file = None if fault == "unknown authority" else authority.file
    async with running(Receiver(tls=certificate.context)) as receiver:
        site = channel(host(receiver, tls=policy), ca_file=ca_file)
        if accepted:
            assert states(await send(site)) == {LedgerState.ACCEPTED}
        else:
            with pytest.raises(Unreachable, match=r"(?i)certificate"):
                await send(site)
    assert receiver.secured_mails == receiver.mails == accepted


@pytest.mark.parametrize("policy", [TlsPolicy.REQUIRED, TlsPolicy.VERIFIED])
async def test_tls_that_is_demanded_never_falls_back_and_its_failure_is_not_remembered(
    authority: Authority, policy: TlsPolicy
) -> None:
    receiver = Receiver(
        answers={"STARTTLS": lambda _: b"454 4.7.0 not now"}, tls=authority.vouch_for("mx.example").context
    )
    async with running(receiver):
        site = channel(host(receiver, tls=policy), ca_file=authority.file)
        with pytest.raises(Unreachable, match="STARTTLS"):
            await send(site)
        del receiver.answers["STARTTLS"]
        assert states(await send(site)) == {LedgerState.ACCEPTED}
    assert receiver.secured_mails == receiver.mails == 1


async def test_a_client_says_which_way_its_mail_took(authority: Authority) -> None:
    async with running(Receiver(tls=authority.vouch_for("mx.example").context)) as receiver:
        client = channel(host(receiver, tls=TlsPolicy.REQUIRED), source="127.0.0.3").client()
        assert client.path is None
        await client.send("hello@harbour.example", "ann@example.net", MAIL)
        await client.close()
    assert client.path == MailPath("mx.example", "127.0.0.1", "127.0.0.3", "TLSv1.3")


# AUTH

LOGIN = Login("shop", SecretStr("a secret of the tests"))


async def test_a_password_is_said_over_verified_tls(authority: Authority) -> None:
    receiver = Receiver(tls=authority.vouch_for("mx.example").context, offers=("AUTH PLAIN",))
    async with running(receiver):
        site = channel(host(receiver, tls=TlsPolicy.VERIFIED), ca_file=authority.file, login=LOGIN)
        assert states(await send(site)) == {LedgerState.ACCEPTED}
    assert [verb for verb in receiver.verbs if verb in ("STARTTLS", "AUTH", "MAIL")] == ["STARTTLS", "AUTH", "MAIL"]


async def test_a_wrong_password_is_unreachable_with_the_reply(authority: Authority) -> None:
    answers: dict[str, Callable[[Talk], bytes | None]] = {"AUTH": lambda _: b"535 5.7.8 no"}
    receiver = Receiver(tls=authority.vouch_for("mx.example").context, offers=("AUTH PLAIN",), answers=answers)
    async with running(receiver):
        with pytest.raises(Unreachable) as refused:
            await send(channel(host(receiver, tls=TlsPolicy.VERIFIED), ca_file=authority.file, login=LOGIN))
    assert refused.value.reply is not None
    assert refused.value.reply.code == 535


@pytest.mark.parametrize("policy", [TlsPolicy.OFF, TlsPolicy.OPPORTUNISTIC, TlsPolicy.REQUIRED])
async def test_a_password_is_never_said_without_verified_tls(authority: Authority, policy: TlsPolicy) -> None:
    receiver = Receiver(tls=authority.vouch_for("mx.example").context, offers=("AUTH PLAIN LOGIN",))
    async with running(receiver):
        with pytest.raises(Unreachable, match="password"):
            await send(channel(host(receiver, tls=policy), login=LOGIN))
    assert "AUTH" not in receiver.verbs


# DANE


def records(authority: Authority, leaf: bytes, kind: str) -> TlsaRecord:
    der, spki = authority.der, authority.public_key
    return {
        "end entity, exact": TlsaRecord(3, 0, 0, leaf),
        "end entity, hash": TlsaRecord(3, 0, 1, hashlib.sha256(leaf).digest()),
        "anchor, hash": TlsaRecord(2, 0, 2, hashlib.sha512(der).digest()),
        "anchor, key": TlsaRecord(2, 1, 1, hashlib.sha256(spki).digest()),
        "anchor, exact": TlsaRecord(2, 0, 0, der),
        "another": TlsaRecord(3, 1, 1, b"\0" * 32),
        "another anchor": TlsaRecord(2, 0, 1, hashlib.sha256(leaf).digest()),
        "unusable": TlsaRecord(1, 0, 1, b"\0" * 32),
    }[kind]


async def by_dane(receiver: Receiver, tlsa: TlsaRecord, **changes: Any) -> bool:
    site = channel(host(receiver, tlsa=(TlsaRecord(3, 1, 1, b"x" * 32), tlsa), tls=TlsPolicy.OPPORTUNISTIC, **changes))
    if tlsa.usage == 1:
        site = channel(host(receiver, tlsa=(tlsa,), tls=TlsPolicy.OPPORTUNISTIC))
    with suppress(Unreachable):
        return states(await send(site)) == {LedgerState.ACCEPTED}
    return False


@pytest.mark.parametrize(
    ("kind", "proves", "of_another_name", "when_expired"),
    [
        ("end entity, exact", True, True, True),
        ("end entity, hash", True, True, True),
        ("anchor, hash", True, False, False),
        ("anchor, key", True, False, False),
        ("anchor, exact", True, False, False),
        ("another", False, False, False),
        ("another anchor", False, False, False),
        ("unusable", True, True, True),
    ],
)
async def test_a_tlsa_record_proves_the_certificate_that_it_names(
    authority: Authority, kind: str, proves: bool, of_another_name: bool, when_expired: bool
) -> None:
    expired = datetime.now(UTC) - timedelta(days=9)
    cases = [
        ("mx.example", None, proves),
        ("other.example", None, of_another_name),
        ("mx.example", expired, when_expired),
    ]
    for name, since, expected in cases:
        certificate = authority.vouch_for(name, since)
        async with running(Receiver(tls=certificate.context)) as receiver:
            assert await by_dane(receiver, records(authority, certificate.der, kind)) is expected
        assert receiver.secured_mails == receiver.mails == expected


@pytest.mark.parametrize(
    "unusable", [TlsaRecord(1, 0, 1, b"\0" * 32), TlsaRecord(3, 1, 9, b"\0" * 32), TlsaRecord(3, 7, 1, b"\0" * 32)]
)
@pytest.mark.parametrize(("name", "accepted"), [("mx.example", True), ("other.example", False), ("end.example", False)])
async def test_records_that_prove_nothing_leave_the_demand_for_a_verified_certificate(
    authority: Authority, unusable: TlsaRecord, name: str, accepted: bool
) -> None:
    async with running(Receiver(tls=authority.vouch_for(name).context)) as receiver:
        demanding = host(receiver, tls=TlsPolicy.VERIFIED, tlsa=(unusable,), tls_name="end.example")
        site = channel(demanding, ca_file=authority.file)
        if accepted:
            assert states(await send(site)) == {LedgerState.ACCEPTED}
        else:
            with pytest.raises(Unreachable, match=r"(?i)certificate"):
                await send(site)
    assert receiver.secured_mails == receiver.mails == accepted


async def test_a_host_with_tlsa_records_gets_no_mail_without_tls() -> None:
    async with running(Receiver()) as receiver:
        with pytest.raises(Unreachable, match="TLSA"):
            await send(channel(host(receiver, tlsa=(TlsaRecord(3, 1, 1, b"x" * 32),))))
    assert receiver.mails == 0


async def test_old_tls_counts_as_broken() -> None:
    assert ssl.create_default_context().minimum_version >= ssl.TLSVersion.TLSv1_2


# connections that end without a word


@pytest.mark.parametrize("at", ["MAIL", "RCPT"])
async def test_a_host_that_closes_silently_leaves_one_doubt_and_then_gets_the_content_after_its_reply(at: str) -> None:
    def leave_after_two(talk: Talk) -> bytes | None:
        return None if talk.mails >= 2 else b"250 ok"

    receiver = Receiver(answers={at: leave_after_two}, offers=("PIPELINING", "CHUNKING"))
    async with running(receiver):
        results = await send(channel(host(receiver)), 9)
    doubtful = [result for result in results if result.state is LedgerState.IN_DOUBT]
    assert [(result.state, result.reason) for result in doubtful] == [(LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY)]
    assert receiver.mails == 8
    assert receiver.verbs.count("BDAT") == 2

"""SMTP sessions against a real sink, and against servers that misbehave: one verdict for each mail."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from drivers.free_ports import free_port

from infra.local.sink_process import Sink
from schemas.vocabulary import DeliveryReason, LedgerState, ReplyClass
from senders.channels.channel import RealMailRefused, SendResult, Unreachable
from senders.channels.smtp.addresses import addresses_of
from senders.channels.smtp.channel import SmtpChannel
from senders.settings import SenderSettings

MAIL = b"Subject: hello\r\n\r\n.dotted\r\n..twice\r\nend\r\n"


def relay(port: int, **changes: Any) -> SmtpChannel:
    fields: dict[str, Any] = {"suppression_key": "a secret of the tests alone", "smtp_port": port}
    return SmtpChannel.of(SenderSettings(**(fields | changes)))


async def send(relay: SmtpChannel, to: str) -> SendResult:
    client = relay.client()
    try:
        return await client.send("hello@harbour.example", to, MAIL)
    finally:
        await client.close()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with Sink(free_port(), tmp_path) as running:
        yield running


@asynccontextmanager
async def server(*replies: bytes | None) -> AsyncIterator[int]:
    """A server that greets, then gives these replies to any command; None hangs up. DATA's body ends at its dot."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        in_data = False
        for reply in replies:
            request = await (reader.readuntil(b"\r\n.\r\n") if in_data else reader.readline())
            if reply is None or not request:
                break
            in_data = reply.startswith(b"354")
            writer.write(reply + b"\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as running:
        yield running.sockets[0].getsockname()[1]


async def test_a_mail_arrives_unchanged_dots_included(sink: Sink) -> None:
    verdict = await send(relay(sink.port), "ann@example.net")
    assert verdict.state is LedgerState.ACCEPTED
    [mail] = sink.messages()
    assert mail.raw == MAIL


async def test_one_connection_carries_many_mails_even_after_refusals(sink: Sink) -> None:
    channel = relay(sink.port, mails_per_connection=5)
    session = await channel.connector.open(await channel.find_route())
    states = []
    for to in ("a@example.net", "451-1@example.net", "550@example.net", "data-550@example.net", "b@example.net"):
        assert session.usable
        states.append((await session.send("hello@harbour.example", to, MAIL)).state.value)
    assert states == ["accepted", "deferred", "refused", "refused", "accepted"]
    assert not session.usable
    await session.close()


@pytest.mark.parametrize(
    ("to", "state", "reason"),
    [
        ("drop-after-dot@example.net", LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
        ("drop-at-rcpt@example.net", LedgerState.DEFERRED, DeliveryReason.DISCONNECTED),
        ("550@example.net", LedgerState.REFUSED, ReplyClass.INVALID_RECIPIENT),
        ("554@example.net", LedgerState.DEFERRED, ReplyClass.POLICY_RELATED),
        ("421@example.net", LedgerState.DEFERRED, ReplyClass.TRANSIENT_FAILURE),
    ],
)
async def test_each_end_of_a_transaction_has_its_result(
    sink: Sink, to: str, state: LedgerState, reason: DeliveryReason | ReplyClass | None
) -> None:
    verdict = await send(relay(sink.port), to)
    assert (verdict.state, verdict.reason) == (state, reason)


EHLO = b"250 test"


@pytest.mark.parametrize(
    ("replies", "state", "reason"),
    [
        ((EHLO, None), LedgerState.DEFERRED, DeliveryReason.DISCONNECTED),
        ((EHLO, b"250 ok", b"250 ok", None), LedgerState.DEFERRED, DeliveryReason.DISCONNECTED),
        ((EHLO, b"250 ok", b"250 ok", b"354 go", None), LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
        ((EHLO, b"250 ok", b"250 ok", b"354 go", b"gibberish"), LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
        ((EHLO, b"250 ok", b"250 ok", b"250 ok", b"250 ok"), LedgerState.DEFERRED, None),
        ((EHLO, b"250 ok", b"250 ok", b"354 go", b"421 closing"), LedgerState.DEFERRED, ReplyClass.TRANSIENT_FAILURE),
        ((EHLO, b"553 5.1.8 bad sender", b"250 ok"), LedgerState.REFUSED, ReplyClass.INVALID_SENDER),
    ],
)
async def test_a_lost_connection_leaves_doubt_only_after_the_final_dot(
    replies: tuple[bytes | None, ...], state: LedgerState, reason: DeliveryReason | ReplyClass | None
) -> None:
    async with server(*replies) as port:
        verdict = await send(relay(port), "ann@example.net")
    assert (verdict.state, verdict.reason) == (state, reason)


async def test_a_timeout_defers_the_mail_before_the_final_dot_and_puts_it_in_doubt_after() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        await reader.readline()
        writer.write(b"250 test\r\n")
        await reader.read()

    async def silent_after_dot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        for reply in (b"250 test", b"250 ok", b"250 ok", b"354 go"):
            await reader.readline()
            writer.write(reply + b"\r\n")
        await reader.read()

    verdicts = []
    for talk in (silent, silent_after_dot):
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as running:
            port = running.sockets[0].getsockname()[1]
            timeouts = {"smtp_timeout_s": 0.3, "smtp_final_dot_timeout_s": 0.3}
            verdict = await send(relay(port, **timeouts), "ann@example.net")
            verdicts.append((verdict.state, verdict.reason))
    assert verdicts == [
        (LedgerState.DEFERRED, DeliveryReason.TIMED_OUT),
        (LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
    ]


@pytest.mark.parametrize("greeting", [b"421 4.3.2 busy\r\n", b"554 no\r\n", b""])
async def test_a_server_that_does_not_greet_is_unreachable(greeting: bytes) -> None:
    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        writer.close()

    async with await asyncio.start_server(turn_away, "127.0.0.1", 0) as running:
        with pytest.raises(Unreachable):
            await relay(running.sockets[0].getsockname()[1]).client().connect()


async def test_a_refused_connection_and_an_unknown_name_are_unreachable() -> None:
    with pytest.raises(Unreachable):
        await relay(free_port()).client().connect()
    with pytest.raises(Unreachable):
        await relay(25, smtp_host="no-such-host.invalid").check()


@pytest.mark.parametrize("host", ["192.0.2.7", "10.0.0.1", "2001:db8::1", "0.0.0.0"])  # noqa: S104  # an address to refuse
async def test_a_destination_beyond_loopback_is_refused_and_the_error_says_what_to_set(host: str) -> None:
    with pytest.raises(RealMailRefused, match=r"EBBTIDE_ALLOW_REAL_MAIL=true"):
        await relay(25, smtp_host=host).check()


async def test_a_destination_beyond_loopback_is_allowed_by_the_setting() -> None:
    channel = relay(25, smtp_host="192.0.2.7", allow_real_mail=True)
    await channel.check()
    [host] = (await channel.find_route()).hosts
    assert await addresses_of(host, allow_real_mail=True) == ["192.0.2.7"]


@pytest.mark.parametrize("word", ["required", "verified"])
async def test_mail_never_goes_without_required_starttls(sink: Sink, word: str) -> None:
    with pytest.raises(Unreachable, match="STARTTLS"):
        await relay(sink.port, smtp_tls=word).client().connect()

"""One mail in one, two or four flights: what goes over the wire, and one verdict whatever the server does."""

import asyncio
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from drivers.mail_receiver import Receiver, Talk, running

from schemas.vocabulary import DeliveryReason, LedgerState, ReplyClass
from senders.channels.channel import SendResult, Unreachable
from senders.channels.smtp.channel import MAX_CONNECTIONS, SmtpChannel
from senders.settings import SenderSettings

MAIL = b"Subject: hello\r\n\r\n.dotted\r\nend\r\n"
CHUNKED = ("PIPELINING", "CHUNKING", "8BITMIME")
PIPELINED = ("PIPELINING", "8BITMIME")
PLAIN = ("8BITMIME",)
WAYS = [CHUNKED, PIPELINED, PLAIN]
SENDER, RECIPIENT = "hello@harbour.example", "ann@example.net"


def relay(receiver: Receiver, **changes: Any) -> SmtpChannel:
    fields: dict[str, Any] = {"suppression_key": "a secret of the tests alone", "smtp_port": receiver.port}
    return SmtpChannel.of(
        SenderSettings(**(fields | {"smtp_timeout_s": 5.0, "smtp_final_dot_timeout_s": 5.0} | changes))
    )


async def send_all(receiver: Receiver, *mails: bytes, to: str = RECIPIENT, **changes: Any) -> list[SendResult]:
    client = relay(receiver, **changes).client()
    try:
        return [await client.send(SENDER, to, mail) for mail in mails]
    finally:
        await client.close()


def hello(offers: tuple[str, ...]) -> bytes:
    return b"250-test\r\n" + "".join(f"250-{keyword}\r\n" for keyword in offers).encode() + b"250 HELP\r\n"


def says(reply: bytes | None) -> Callable[[Talk], bytes | None]:
    return lambda _: reply


# what goes over the wire


@pytest.mark.parametrize("offers", WAYS)
async def test_a_mail_arrives_unchanged_by_each_way(offers: tuple[str, ...]) -> None:
    async with running(Receiver(offers=offers)) as receiver:
        results = await send_all(receiver, MAIL, MAIL)
    assert [result.state for result in results] == [LedgerState.ACCEPTED] * 2
    stuffed = MAIL if offers is CHUNKED else MAIL.replace(b"\r\n.", b"\r\n..")
    assert receiver.contents == [stuffed] * 2
    verb = "BDAT" if offers is CHUNKED else "DATA"
    assert receiver.verbs == ["EHLO", *["MAIL", "RCPT", verb] * 2, "QUIT"]


async def test_the_size_is_said_where_the_server_asks_for_it() -> None:
    async with running(Receiver(offers=(*CHUNKED, "SIZE 1000"))) as receiver:
        await send_all(receiver, MAIL)
    assert receiver.lines[1:4] == [
        f"MAIL FROM:<{SENDER}> SIZE={len(MAIL)}",
        f"RCPT TO:<{RECIPIENT}>",
        f"BDAT {len(MAIL)} LAST",
    ]


async def test_a_mail_larger_than_the_server_takes_is_not_sent() -> None:
    async with running(Receiver(offers=(*CHUNKED, f"SIZE {len(MAIL) - 1}"))) as receiver:
        [result] = await send_all(receiver, MAIL)
    assert (result.state, result.reason) == (LedgerState.FAILED, DeliveryReason.TOO_LARGE)
    assert receiver.verbs == ["EHLO", "QUIT"]


@pytest.mark.parametrize("limit", ["SIZE", "SIZE 0", "SIZE many", "SIZE -1", "SIZE 999999999999999999999999"])
async def test_a_size_that_sets_no_limit_limits_nothing(limit: str) -> None:
    async with running(Receiver(offers=(*PLAIN, limit))) as receiver:
        [result] = await send_all(receiver, MAIL)
    assert result.state is LedgerState.ACCEPTED


async def test_eight_bit_bytes_go_only_to_a_server_that_takes_them() -> None:
    mail = MAIL + "Zoë\r\n".encode()
    async with running(Receiver(offers=PIPELINED)) as receiver:
        [result] = await send_all(receiver, mail)
    assert result.state is LedgerState.ACCEPTED
    assert f"MAIL FROM:<{SENDER}> BODY=8BITMIME" in receiver.lines
    async with running(Receiver(offers=("PIPELINING",))) as receiver:
        [result] = await send_all(receiver, mail)
    assert (result.state, result.reason) == (LedgerState.FAILED, DeliveryReason.NEEDS_8BITMIME)
    assert receiver.contents == []


async def test_an_address_in_other_letters_goes_only_to_a_server_that_takes_it() -> None:
    async with running(Receiver(offers=(*PIPELINED, "SMTPUTF8"))) as receiver:
        [result] = await send_all(receiver, MAIL, to="zoë@example.net")
    assert result.state is LedgerState.ACCEPTED
    assert receiver.lines[1:3] == [f"MAIL FROM:<{SENDER}> SMTPUTF8", "RCPT TO:<zoë@example.net>"]
    async with running(Receiver(offers=PIPELINED)) as receiver:
        [result] = await send_all(receiver, MAIL, to="zoë@example.net")
    assert (result.state, result.reason) == (LedgerState.FAILED, DeliveryReason.NEEDS_SMTPUTF8)
    assert receiver.verbs == ["EHLO", "QUIT"]


@pytest.mark.parametrize("to", ["a@b\r\nRSET", "a@b>", "a@b> SIZE=1", "a\0@b", "<a@b"])
async def test_an_address_that_could_end_its_command_is_never_written(to: str) -> None:
    async with running(Receiver(offers=CHUNKED)) as receiver:
        with pytest.raises(ValueError, match="address"):
            await send_all(receiver, MAIL, to=to)
    assert receiver.verbs == ["EHLO"]


async def test_a_limit_of_mails_that_the_server_announces_is_kept() -> None:
    async with running(Receiver(offers=(*CHUNKED, "LIMITS RCPTMAX=5 MAILMAX=2"))) as receiver:
        results = await send_all(receiver, *[MAIL] * 5)
    assert [result.state for result in results] == [LedgerState.ACCEPTED] * 5
    assert receiver.connections == 3


# verdicts


@pytest.mark.parametrize("offers", WAYS)
@pytest.mark.parametrize(
    ("answers", "state", "reason"),
    [
        ({"MAIL": says(b"550 5.1.8 bad sender")}, LedgerState.REFUSED, ReplyClass.INVALID_SENDER),
        ({"MAIL": says(b"451 4.3.0 later")}, LedgerState.DEFERRED, ReplyClass.TRANSIENT_FAILURE),
        ({"RCPT": says(b"550 5.1.1 no such user")}, LedgerState.REFUSED, ReplyClass.INVALID_RECIPIENT),
        ({"RCPT": says(b"450-4.2.1 busy\r\n450 4.2.1 today")}, LedgerState.DEFERRED, ReplyClass.TRANSIENT_FAILURE),
        ({"RCPT": says(b"251 will forward")}, LedgerState.ACCEPTED, None),
    ],
)
async def test_the_envelope_decides_by_each_way_and_the_connection_lives_on(
    offers: tuple[str, ...], answers: dict[str, Any], state: LedgerState, reason: ReplyClass | None
) -> None:
    async with running(Receiver(offers=offers, answers=answers)) as receiver:
        results = await send_all(receiver, MAIL, MAIL)
    assert [(result.state, result.reason) for result in results] == [(state, reason)] * 2
    assert receiver.connections == 1


async def test_a_server_that_takes_content_after_it_refused_the_recipient_gets_an_empty_mail_or_none() -> None:
    answers = {"RCPT": says(b"550 5.1.1 no such user"), "DATA": says(b"354 go on")}
    async with running(Receiver(offers=PIPELINED, answers=answers)) as receiver:
        results = await send_all(receiver, MAIL, MAIL)
    assert [result.state for result in results] == [LedgerState.REFUSED] * 2
    assert receiver.contents == [b"", b""]
    answers = {"RCPT": says(b"550 5.1.1 no such user"), "BDAT": says(b"250 taken, for nobody")}
    async with running(Receiver(offers=CHUNKED, answers=answers)) as receiver:
        results = await send_all(receiver, MAIL, MAIL)
    assert [result.state for result in results] == [LedgerState.REFUSED] * 2


@pytest.mark.parametrize("offers", WAYS)
@pytest.mark.parametrize(
    ("final", "state", "reason"),
    [
        (b"550 5.7.1 spam", LedgerState.REFUSED, ReplyClass.SPAM_CONTENT),
        (b"451 4.3.0 later", LedgerState.DEFERRED, ReplyClass.TRANSIENT_FAILURE),
        (None, LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
        (b"gibberish", LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
        (b"250-taken\r\n550 or not", LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
        (b"250 taken\r\n250 twice", LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
        (b"250 ta\0ken", LedgerState.ACCEPTED, None),
        (b"x" * 10_000_000, LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
        (b"250-more\r\n" * 1_000_000 + b"250 end", LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY),
    ],
)
async def test_the_reply_to_the_content_decides_and_none_leaves_doubt(
    offers: tuple[str, ...], final: bytes | None, state: LedgerState, reason: DeliveryReason | ReplyClass | None
) -> None:
    async with running(Receiver(offers=offers, final=says(final))) as receiver:
        [result] = await send_all(receiver, MAIL)
    assert (result.state, result.reason) == (state, reason)
    assert receiver.connections == 1


@pytest.mark.parametrize("offers", WAYS)
@pytest.mark.parametrize("at", ["MAIL", "RCPT"])
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"421 4.3.2 closing", ReplyClass.TRANSIENT_FAILURE),
        (b"gibberish", DeliveryReason.BAD_REPLY),
        (b"250 ok\r\n250 surplus\r\n250 surplus\r\n250 surplus", DeliveryReason.BAD_REPLY),
        (b"\x16\x03\x01\0\0", DeliveryReason.BAD_REPLY),
    ],
)
async def test_an_envelope_that_is_not_answered_is_tried_on_other_connections_and_deferred(
    offers: tuple[str, ...], at: str, reply: bytes, reason: DeliveryReason | ReplyClass
) -> None:
    async with running(Receiver(offers=offers, answers={at: says(reply)})) as receiver:
        [result] = await send_all(receiver, MAIL)
    if offers is CHUNKED and reply.startswith((b"g", b"250", b"\x16")):  # the content went with the envelope
        assert (result.state, result.reason) == (LedgerState.IN_DOUBT, DeliveryReason.NO_REPLY)
        assert receiver.connections == 1
        return
    if not reply.startswith(b"250") or offers is not PIPELINED:
        assert (result.state, result.reason) == (LedgerState.DEFERRED, reason)
        assert receiver.connections == MAX_CONNECTIONS


@pytest.mark.parametrize("behind", [[], [b"354 go on\r\n"]])
@pytest.mark.parametrize("offers", WAYS)
async def test_a_refusal_counts_even_if_the_server_hangs_up_behind_it(
    offers: tuple[str, ...], behind: list[bytes]
) -> None:
    async def refuse_and_leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        await reader.readline()
        writer.write(hello(offers))
        for reply in (b"250 ok\r\n", b"550 5.1.1 no such user\r\n", *(behind if offers is PIPELINED else [])):
            await reader.readline()
            writer.write(reply)
        writer.close()

    async with await asyncio.start_server(refuse_and_leave, "127.0.0.1", 0) as server:
        [result] = await send_all(Receiver(port=server.sockets[0].getsockname()[1]), MAIL)
    assert (result.state, result.reason) == (LedgerState.REFUSED, ReplyClass.INVALID_RECIPIENT)


@pytest.mark.parametrize("reset", [b"503 5.5.1 what", b"421 4.3.2 closing", None, b"gibberish"])
@pytest.mark.parametrize("offers", WAYS)
async def test_a_reset_that_is_answered_oddly_costs_a_connection_and_no_mail(
    offers: tuple[str, ...], reset: bytes | None
) -> None:
    def judge(talk: Talk) -> bytes:
        return b"550 5.1.1 no such user" if talk.receiver.lines[-1] == "RCPT TO:<bad@example.net>" else b"250 ok"

    async with running(Receiver(offers=offers, answers={"RSET": says(reset), "RCPT": judge})) as receiver:
        client = relay(receiver).client()
        states = [
            (await client.send(SENDER, f"{name}@example.net", MAIL)).state for name in ("bad", "ann", "bad", "ann")
        ]
        await client.close()
    assert states == [LedgerState.REFUSED, LedgerState.ACCEPTED] * 2
    assert receiver.connections == 3


# content that the server does not wait for

LARGE = b"Subject: large\r\n\r\n" + (b"y" * 998 + b"\r\n") * 12_000
"""More than the buffers of a connection on loopback hold."""


@pytest.mark.parametrize("offers", WAYS)
async def test_a_large_mail_arrives_unchanged(offers: tuple[str, ...]) -> None:
    async with running(Receiver(offers=offers)) as receiver:
        [result] = await send_all(receiver, LARGE)
    assert result.state is LedgerState.ACCEPTED
    assert receiver.contents == [LARGE]


def interrupting(offers: tuple[str, ...], word: bytes | None) -> Callable[..., Any]:
    """A server that reads a little of the content, says a word, or nothing at all, and leaves or falls silent."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        await reader.readline()
        writer.write(hello(offers))
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"" if offers is CHUNKED else b"354 go\r\n"):
            await reader.readline()
            writer.write(reply)
        await reader.readexactly(1000)
        if word is None:
            await silence.wait()
        writer.write(word or b"")
        writer.close()

    silence = asyncio.Event()

    return talk


@pytest.mark.parametrize("offers", WAYS)
@pytest.mark.parametrize(
    ("word", "state", "reason"),
    [
        (b"552 5.3.4 too large\r\n", LedgerState.REFUSED, ReplyClass.CONTENT_RELATED),
        (b"451 4.3.0 disk full\r\n", LedgerState.DEFERRED, ReplyClass.QUOTA_ISSUES),
        (b"421 4.3.2 closing\r\n", LedgerState.DEFERRED, ReplyClass.TRANSIENT_FAILURE),
        (b"250 taken already\r\n", LedgerState.DEFERRED, DeliveryReason.BAD_REPLY),
        (b"", LedgerState.DEFERRED, DeliveryReason.DISCONNECTED),
        (None, LedgerState.DEFERRED, DeliveryReason.TIMED_OUT),
    ],
)
async def test_before_the_end_of_the_content_there_is_no_doubt(
    offers: tuple[str, ...], word: bytes | None, state: LedgerState, reason: DeliveryReason | ReplyClass
) -> None:
    async with await asyncio.start_server(interrupting(offers, word), "127.0.0.1", 0) as server:
        receiver = Receiver(port=server.sockets[0].getsockname()[1])
        [result] = await send_all(receiver, LARGE, smtp_timeout_s=0.5 if word is None else 20.0)
    assert (result.state, result.reason) == (state, reason)


# greetings


@pytest.mark.parametrize(
    "greeting",
    [b"x" * 10_000_000, b"220-x\r\n" * 1_500_000, b"\0\xff" * 10, b"hello\r\n", b"220-a\r\n421 b\r\n", b"", b"22"],
)
async def test_a_greeting_that_is_none_is_a_verdict_within_bounds(greeting: bytes) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await asyncio.Event().wait()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        tracemalloc.start()
        start = time.monotonic()
        with pytest.raises(Unreachable):
            await relay(Receiver(port=server.sockets[0].getsockname()[1]), smtp_timeout_s=0.5).client().connect()
        assert time.monotonic() - start < 5
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 16_000_000 + 2 * len(greeting)

"""Faults of a connection cost the mail no attempt: session limits, broken TLS, servers without EHLO."""

import asyncio
import os
import ssl
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from drivers.mail_receiver import Receiver, Talk, converse, running
from structlog.testing import capture_logs

from schemas.vocabulary import DeliveryReason, LedgerState, ReplyClass
from senders.channels.channel import Unreachable
from senders.channels.smtp.channel import MAX_CONNECTIONS, SmtpChannel
from senders.channels.smtp.starttls import RETRY_AFTER_S, StarttlsMemory
from senders.content.dkim import generate_key
from senders.settings import SenderSettings

MAIL = b"Subject: hello\r\n\r\nhello\r\n"


def relay(receiver: Receiver, **changes: Any) -> SmtpChannel:
    fields: dict[str, Any] = {"suppression_key": "a secret of the tests alone", "smtp_port": receiver.port}
    return SmtpChannel.of(SenderSettings(**(fields | {"smtp_timeout_s": 5.0} | changes)))


async def send_all(relay: SmtpChannel, count: int, to: str = "ann@example.net") -> list[Any]:
    client = relay.client()
    try:
        return [await client.send("hello@harbour.example", to, MAIL) for _ in range(count)]
    finally:
        await client.close()


def after(limit: int, reply: bytes | None) -> Callable[[Talk], bytes | None]:
    """The reply once the connection has taken `limit` mails; before that, what a good server says."""
    return lambda talk: reply if talk.mails >= limit else b"250 ok"


# session limits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        {"answers": {"MAIL": after(2, b"421 4.7.0 too many messages in this session")}},
        {"answers": {"RCPT": after(2, b"421 4.7.0 too many recipients in this session")}},
        {"answers": {"DATA": lambda talk: b"421 4.7.0 enough" if talk.mails >= 2 else b"354 go"}},
        {"answers": {"MAIL": after(2, b"452 4.5.3 too many messages in this session")}},
        {"answers": {"RCPT": after(2, b"450 4.7.1 limit of mails per SMTP connection reached")}},
        {"answers": {"MAIL": after(2, b"554 5.7.0 Too many mails on the same connection")}},
        {"answers": {"MAIL": after(2, None)}},
        {"answers": {"RCPT": after(2, None)}},
        {"answers": {"DATA": lambda talk: None if talk.mails >= 2 else b"354 go"}},
        {"final": lambda talk: b"421 4.7.0 too many messages in this session" if talk.mails >= 2 else b"250 taken"},
        {"after_mail": lambda talk: b"421 4.7.0 limit reached" if talk.mails >= 2 else b""},
        {"after_mail": lambda talk: None if talk.mails >= 2 else b""},
    ],
)
async def test_a_limit_of_mails_a_session_costs_no_attempt(limits: dict[str, Any]) -> None:
    async with running(Receiver(**limits)) as receiver:
        results = await send_all(relay(receiver), 7)
    assert [result.state for result in results] == [LedgerState.ACCEPTED] * 7
    assert receiver.mails == 7
    assert receiver.connections == 4


async def test_a_limit_of_a_session_that_took_no_mail_is_not_tried_again_at_once() -> None:
    limit = b"452 4.5.3 too many messages in this session"
    async with running(Receiver(answers={"MAIL": lambda _: limit})) as receiver:
        [result] = await send_all(relay(receiver), 1)
    assert (result.state, receiver.connections) == (LedgerState.DEFERRED, 1)


async def test_a_session_that_times_out_is_replaced() -> None:
    silent = asyncio.Event()

    async def fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not silent.is_set():
            silent.set()
            writer.write(b"220 test\r\n")
            await reader.readline()
            writer.write(b"250 test\r\n")
            await reader.read()
        else:
            await converse(receiver, reader, writer)

    receiver = Receiver()
    async with await asyncio.start_server(fall_silent, "127.0.0.1", 0) as server:
        receiver.port = server.sockets[0].getsockname()[1]
        [result] = await send_all(relay(receiver, smtp_timeout_s=1.0), 1)
    assert result.state is LedgerState.ACCEPTED


@pytest.mark.parametrize(
    ("reply", "reason"), [(b"421 4.7.0 not this one", ReplyClass.POLICY_RELATED), (None, DeliveryReason.DISCONNECTED)]
)
async def test_a_mail_is_deferred_after_the_server_hangs_up_on_three_connections(
    reply: bytes | None, reason: DeliveryReason | ReplyClass
) -> None:
    async with running(Receiver(answers={"RCPT": lambda _: reply})) as receiver:
        [result] = await send_all(relay(receiver), 1)
    assert (result.state, result.reason) == (LedgerState.DEFERRED, reason)
    assert (result.reply is None) is (reply is None)
    assert receiver.connections == MAX_CONNECTIONS


async def test_a_mail_whose_final_dot_is_always_answered_421_is_deferred_after_three_connections() -> None:
    async with running(Receiver(final=lambda _: b"421 4.3.2 shutting down")) as receiver:
        client = relay(receiver).client()
        result = await client.send("hello@harbour.example", "ann@example.net", MAIL)
        await client.close()
    assert (result.state, result.reason) == (LedgerState.DEFERRED, ReplyClass.TRANSIENT_FAILURE)
    assert result.reply is not None
    assert result.reply.code == 421
    assert not client.handed_over, "the reply says that the server does not have the mail"
    assert receiver.connections == MAX_CONNECTIONS


@pytest.mark.parametrize("at", ["MAIL", "final dot"])
async def test_a_server_that_accepts_no_other_connection_is_unreachable_and_took_nothing(at: str) -> None:
    def greet(talk: Talk) -> bytes:
        return b"220 test" if talk.receiver.connections == 1 else b"421 4.3.2 too busy"

    answers: dict[str, Callable[[Talk], bytes | None]] = {"CONNECT": greet}
    receiver = Receiver(answers=answers)
    if at == "MAIL":
        answers["MAIL"] = lambda _: b"421 4.3.2 shutting down"
    else:
        receiver.final = lambda _: b"421 4.3.2 shutting down"
    async with running(receiver):
        client = relay(receiver).client()
        with pytest.raises(Unreachable, match="too busy"):
            await client.send("hello@harbour.example", "ann@example.net", MAIL)
    assert receiver.connections == 2
    assert not client.handed_over


# TLS if it is offered ------------------------------------------------------------------------------------------------


def server_context(directory: Path) -> ssl.SSLContext:
    """TLS with a self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    pem = directory / "server.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(secret + signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def test_tls_that_works_is_used_with_another_ehlo(tmp_path: Path) -> None:
    async with running(Receiver(tls=server_context(tmp_path))) as receiver:
        [result] = await send_all(relay(receiver), 1)
    assert result.state is LedgerState.ACCEPTED
    assert receiver.secured_mails == 1
    assert receiver.verbs[:4] == ["EHLO", "STARTTLS", "EHLO", "MAIL"]


def old_tls(directory: Path) -> ssl.SSLContext:
    """A server that has no cipher in common with us."""
    context = server_context(directory)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    return context


BROKEN: dict[str, Callable[[Path], dict[str, Any]]] = {
    "refused for now": lambda _: {"answers": {"STARTTLS": lambda _: b"454 4.7.0 TLS not available"}},
    "refused": lambda _: {"answers": {"STARTTLS": lambda _: b"502 5.5.1 not implemented"}},
    "closed at the command": lambda _: {"answers": {"STARTTLS": lambda _: None}},
    "closed at the handshake": lambda _: {"answers": {"STARTTLS": lambda _: b"220 go"}},
    "no common cipher": lambda path: {"tls": old_tls(path)},
}


@pytest.mark.parametrize("name", BROKEN)
async def test_mail_goes_without_offered_tls_that_fails_and_the_log_says_so_once(name: str, tmp_path: Path) -> None:
    async with running(Receiver(**BROKEN[name](tmp_path))) as receiver:
        with capture_logs() as logs:
            server = relay(receiver)
            first = await send_all(server, 1)
            tried = receiver.connections
            again = await send_all(server, 1)
    assert [result.state for result in first + again] == [LedgerState.ACCEPTED] * 2
    assert (tried, receiver.connections) == (2, 3)
    assert [line["event"] for line in logs] == ["starttls_failed"]


@pytest.mark.parametrize("word", ["required", "verified"])
@pytest.mark.parametrize("name", BROKEN)
async def test_required_tls_that_fails_never_falls_back(name: str, word: str, tmp_path: Path) -> None:
    async with running(Receiver(**BROKEN[name](tmp_path))) as receiver:
        with pytest.raises(Unreachable):
            await send_all(relay(receiver, smtp_tls=word), 1)
    assert "MAIL" not in receiver.verbs


async def test_verified_tls_refuses_a_self_signed_certificate_that_required_tls_takes(tmp_path: Path) -> None:
    async with running(Receiver(tls=server_context(tmp_path))) as receiver:
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            await send_all(relay(receiver, smtp_tls="verified"), 1)
        assert "MAIL" not in receiver.verbs
        [result] = await send_all(relay(receiver, smtp_tls="required"), 1)
    assert result.state is LedgerState.ACCEPTED
    assert receiver.secured_mails == 1


def test_starttls_is_tried_again_after_a_while_and_its_return_is_logged() -> None:
    now = 0.0
    memory = StarttlsMemory(lambda: now)
    with capture_logs() as logs:
        assert not memory.failed_recently("192.0.2.1")
        memory.failed("192.0.2.1", ConnectionError("454"))
        assert memory.failed_recently("192.0.2.1")
        assert not memory.failed_recently("192.0.2.2")
        now = RETRY_AFTER_S
        assert not memory.failed_recently("192.0.2.1")
        memory.failed("192.0.2.1", ConnectionError("454"))
        memory.worked("192.0.2.1")
        memory.worked("192.0.2.1")
    assert [line["event"] for line in logs] == ["starttls_failed", "starttls_works"]


# servers without EHLO ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [500, 502, 504])
async def test_a_server_without_ehlo_gets_helo(code: int) -> None:
    async with running(Receiver(answers={"EHLO": lambda _: b"%d what?" % code})) as receiver:
        [result] = await send_all(relay(receiver), 1)
    assert result.state is LedgerState.ACCEPTED
    assert receiver.verbs[:3] == ["EHLO", "HELO", "MAIL"]


async def test_required_tls_refuses_a_server_without_ehlo() -> None:
    async with running(Receiver(answers={"EHLO": lambda _: b"502 what?"})) as receiver:
        with pytest.raises(Unreachable, match="STARTTLS"):
            await send_all(relay(receiver, smtp_tls="required"), 1)


async def test_a_server_that_refuses_every_greeting_is_unreachable() -> None:
    no = {verb: lambda _: b"554 5.7.1 no service for you" for verb in ("EHLO", "HELO")}
    async with running(Receiver(answers=no)) as receiver:
        with pytest.raises(Unreachable, match="554"):
            await send_all(relay(receiver), 1)


async def test_send_test_goes_without_tls_that_fails_and_says_so_on_stderr(tmp_path: Path) -> None:
    template = tmp_path / "hello.liquid"
    generate_key(tmp_path / "dkim.pem")
    template.write_text('---\nsubject: "Hello"\n---\n<p>x</p>\n--- text ---\nx\n')
    async with running(Receiver(answers={"STARTTLS": lambda _: b"454 4.7.0 TLS not available"})) as receiver:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli.main", "send-test", str(template), "--to", "ann@shop.example"),
            env=os.environ | {"EBBTIDE_SMTP_PORT": str(receiver.port), "EBBTIDE_DKIM_KEY": str(tmp_path / "dkim.pem")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert process.returncode == 0, err
    assert out.decode().splitlines() == [f"accepted by 127.0.0.1:{receiver.port}: 250 taken"]
    assert b"starttls_failed" in err

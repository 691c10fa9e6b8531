"""The sink of providers: its answers to a client, and its receipts, over real sockets."""

import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drivers.free_ports import free_port
from drivers.running_senders import wait_until

from infra.local.sink_process import ProviderSink
from infra.local.sink_receipts import RECEIPTS, Receipt

UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE
Running = Callable[..., ProviderSink]
MAIL = b"Subject: x\r\nX-Ebbtide-Command: " + b"ab" * 16 + b"\r\n\r\n..dot\r\n.\r\n"
ALL = '[[provider]]\nname = "all"\n'


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    started: list[ProviderSink] = []

    def start(script: str = "", **options: bool) -> ProviderSink:
        sink = ProviderSink(free_port(), tmp_path / str(len(started)), script, **options)
        started.append(sink)
        sink.start()
        return sink

    yield start
    for sink in started:
        sink.stop()


@contextmanager
def session(sink: ProviderSink, host: str = "127.0.0.1", source: str = "127.0.0.1") -> Iterator[smtplib.SMTP]:
    client = smtplib.SMTP(timeout=20, source_address=(source, 0), local_hostname="client")
    assert client.connect(host, sink.port)[0] == 220
    client._host = "mx.slow.example"  # type: ignore[attr-defined]  # the name that smtplib checks
    client.ehlo()
    yield client
    client.close()


def told(client: smtplib.SMTP, to: str, data: bytes = MAIL) -> int:
    """The last reply's code of one mail."""
    client.docmd("MAIL FROM:<a@harbour.example>")
    code, _ = client.docmd(f"RCPT TO:<{to}>")
    if code == 250:
        code, _ = client.docmd("DATA")
    if code != 354:
        return code
    client.send(data)
    return client.getreply()[0]


def noted(sink: ProviderSink, what: str, count: int) -> list[Receipt]:
    def found() -> list[Receipt]:
        return [receipt for receipt in sink.receipts() if receipt.what == what]

    wait_until(lambda: len(found()) >= count, f"{count} receipts of {what}")
    return found()


def test_a_mail_is_recorded_with_its_command_and_kept_as_it_was(running: Running) -> None:
    sink = running(keep_mails=True)
    with session(sink, source="127.0.0.9") as client:
        assert told(client, "ann@example.net") == 250
    [receipt] = noted(sink, "mail", 1)
    assert (receipt.source, receipt.rcpt_to, receipt.command) == ("127.0.0.9", "ann@example.net", "ab" * 16)
    assert (receipt.mail_from, receipt.reply, receipt.kept) == ("a@harbour.example", "250", True)
    assert abs(receipt.at - time.time()) < 20
    [mail] = sink.messages()
    assert mail.raw == MAIL.removesuffix(b".\r\n").replace(b"..dot", b".dot")
    noted(sink, "close", 1)


def test_pipelined_commands_and_chunks_are_taken(running: Running) -> None:
    sink = running(keep_mails=True)
    with session(sink) as client:
        assert {"pipelining", "chunking", "8bitmime", "starttls", "size"} <= client.esmtp_features.keys()
        client.send(
            b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nBDAT 6\r\nab\r\n.\rBDAT 5 LAST\r\n\ncd\r\nNOOP\r\n"
        )
        assert [client.getreply()[0] for _ in range(5)] == [250, 250, 250, 250, 250]
    assert [mail.raw for mail in sink.messages()] == [b"ab\r\n.\r\ncd\r\n"]


def test_a_listener_hides_what_its_script_takes_away(running: Running) -> None:
    listener = '[[listener]]\nstarttls = "stripped"\npipelining = false\nchunking = false\nmails = 2\n'
    sink = running(listener)
    with session(sink) as client:
        assert {"pipelining", "chunking", "starttls"}.isdisjoint(client.esmtp_features)
        assert client.esmtp_features["limits"] == "MAILMAX=2 RCPTMAX=1"
        assert client.docmd("STARTTLS")[0] == 502
        assert [told(client, "a@b.example"), told(client, "a@b.example")] == [250, 250]
        assert client.docmd("MAIL FROM:<a@b.example>")[0] == 421
        assert client.sock is not None
        assert client.sock.recv(1) == b""


@pytest.mark.parametrize(
    ("certificate", "refusal"),
    [
        ("valid", None),
        ("expired", "expired"),
        ("wrong-name", "match"),
        ("self-signed", "verify failed"),
    ],
)
def test_certificates_are_what_the_script_says(running: Running, certificate: str, refusal: str | None) -> None:
    sink = running(f'[[listener]]\nnames = ["mx.slow.example"]\ncertificate = "{certificate}"\n')
    context = ssl.create_default_context(cafile=str(sink.directory / "ca.pem"))
    with session(sink) as client:
        if refusal is None:
            client.starttls(context=context)
            assert told(client, "a@b.example") == 250
            assert len(noted(sink, "tls", 1)) == 1
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match=refusal):
                client.starttls(context=context)


def test_what_was_said_in_the_clear_behind_starttls_is_forgotten(running: Running) -> None:
    sink = running()
    with session(sink) as client:
        client.docmd("MAIL FROM:<a@b.example>")
        client.send(b"STARTTLS\r\nNOOP\r\n")
        assert client.getreply()[0] == 220
        assert client.sock is not None
        client.sock = UNVERIFIED.wrap_socket(client.sock)
        client.file = None
        assert client.docmd("RCPT TO:<a@b.example>")[0] == 503


def test_broken_starttls_breaks_the_handshake(running: Running) -> None:
    sink = running('[[listener]]\nstarttls = "broken"\n')
    with session(sink) as client, pytest.raises(OSError):  # noqa: PT011  # of the ssl module or of the socket
        client.starttls(context=UNVERIFIED)


def test_replies_come_after_the_latency_once_for_all_that_came_together(running: Running) -> None:
    sink = running(ALL + "latency_ms = [1000, 1000]\n")
    with session(sink) as client:
        began = time.monotonic()
        client.send(b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n")
        assert [client.getreply()[0] for _ in range(3)] == [250, 250, 354]
        took = time.monotonic() - began
    assert 1.0 <= took < 2.0


def test_a_slow_drip_sends_a_reply_byte_by_byte(running: Running) -> None:
    sink = running('[[provider]]\nname = "drip"\nrecipients = ["*@drip.example"]\ndrip_s = 0.5\n')
    with session(sink) as client:
        client.docmd("MAIL FROM:<a@b.example>")
        client.send(b"RCPT TO:<c@drip.example>\r\n")
        assert client.sock is not None
        began = time.monotonic()
        first = client.sock.recv(100)
        rest = b""
        while not rest.endswith(b"\n"):
            rest += client.sock.recv(100)
        assert len(first) < 5
        assert time.monotonic() - began >= 0.3


def test_shares_of_deferrals_and_bounces_are_kept_and_a_bounce_is_of_the_address(running: Running) -> None:
    sink = running(ALL + "deferral = 0.2\nbounce = 0.1\n")
    with session(sink) as client:
        first = [told(client, f"u{number}@x.example") for number in range(400)]
        again = [told(client, f"u{number}@x.example") for number in range(400)]
    assert 20 <= first.count(550) <= 60
    assert [code == 550 for code in first] == [code == 550 for code in again]
    assert 45 <= first.count(451) <= 110
    assert [receipt.reply[:3] for receipt in noted(sink, "rcpt", 1)].count("550") == 2 * first.count(550)


def test_a_greylisted_recipient_is_taken_from_the_same_source_after_the_wait(running: Running) -> None:
    sink = running(ALL + "greylist_s = 0.3\n")
    with session(sink) as client, session(sink, source="127.0.0.2") as other:
        assert [told(client, "a@b.example"), told(client, "a@b.example")] == [451, 451]
        wait_until(lambda: told(client, "a@b.example") == 250, "the recipient is taken")
        assert told(other, "a@b.example") == 451


def test_a_source_that_sends_too_fast_is_blocked_alone(running: Running) -> None:
    rate = 'rate = {mails = 5, per_s = 60, block_s = 600, reply = "450 4.2.1 slow down"}\n'
    sink = running('[[provider]]\nname = "big"\nrecipients = ["*@big.example"]\n' + rate)
    with session(sink) as client, session(sink, source="127.0.0.2") as other:
        assert [told(client, f"u{number}@big.example") for number in range(7)] == [250] * 5 + [450] * 2
        assert told(client, "u@small.example") == 250
        assert told(other, "u@big.example") == 250


def scripted(at: str, text: str, more: str = "") -> str:
    return f'{ALL}[[provider.replies]]\nat = "{at}"\ntext = "{text}"\n{more}'


def test_421_closes_and_an_empty_reply_drops_before_or_after_the_mail_counts(running: Running) -> None:
    for number, (at, more, kept) in enumerate(
        [("mail", "", 0), ("rcpt", "", 0), ("data", "", 0), ("dot", "", 0), ("dot", "keep = true\n", 1)]
    ):
        sink = running(scripted(at, "", more))
        with session(sink) as client, pytest.raises((smtplib.SMTPServerDisconnected, ConnectionError)):
            assert told(client, "a@b.example") == 0, number
        noted(sink, "close", 1)
        assert sum(receipt.kept for receipt in sink.receipts()) == kept
    sink = running(scripted("dot", "421 4.3.2 closing"))
    with session(sink) as client:
        assert told(client, "a@b.example") == 421
        assert client.sock is not None
        assert client.sock.recv(1) == b""


def test_a_greeting_can_block_a_source_and_a_reply_end_after_some_times(running: Running) -> None:
    block = scripted("connect", "554 5.7.1 blocked, see https://bl.example", 'sources = ["127.0.0.9"]\n')
    sink = running(block + '[[provider.replies]]\nat = "rcpt"\ntext = "452 4.2.2 full"\ntimes = 2\n')
    client = smtplib.SMTP(timeout=20, source_address=("127.0.0.9", 0), local_hostname="client")
    assert client.connect("127.0.0.1", sink.port)[0] == 554
    client.close()
    assert [receipt.reply[:3] for receipt in noted(sink, "open", 1)] == ["554"]
    with session(sink) as other:
        assert [told(other, "a@b.example") for _ in range(3)] == [452, 452, 250]
        assert told(other, "b@b.example") == 452


def test_a_file_in_its_directory_ends_an_answer_for_as_long_as_it_is_there(running: Running) -> None:
    sink = running(scripted("rcpt", "550 5.7.1 blocked", 'until_file = "over"\n'))
    with session(sink) as client:
        assert told(client, "a@b.example") == 550
        (sink.directory / "over").touch()
        assert told(client, "a@b.example") == 250
        (sink.directory / "over").unlink()
        assert told(client, "a@b.example") == 550


def test_two_listeners_share_the_port_at_addresses_of_their_own(running: Running) -> None:
    sink = running(
        '[[listener]]\nhost = "127.0.0.3"\nnames = ["one"]\n[[listener]]\nhost = "127.0.0.4"\nnames = ["two"]\n'
    )
    for host, name in (("127.0.0.3", b"one"), ("127.0.0.4", b"two")):
        with socket.create_connection((host, sink.port), timeout=20) as connection:
            assert connection.recv(100) == b"220 " + name + b" ESMTP sink\r\n"
    assert [receipt.listener for receipt in noted(sink, "open", 2)] == ["127.0.0.3", "127.0.0.4"]


def test_a_wrong_script_is_refused_with_the_key(tmp_path: Path) -> None:
    sink = ProviderSink(free_port(), tmp_path, "[[provider]]\nname = 'x'\nlatncy_ms = [1, 2]\n")
    with pytest.raises(RuntimeError, match="did not start"):
        sink.start()
    assert "latncy_ms" in (tmp_path / "sink.log").read_text()


def test_receipts_survive_a_kill_in_the_middle_of_a_line_and_the_next_sink_goes_on_behind_them(tmp_path: Path) -> None:
    sink = ProviderSink(free_port(), tmp_path)
    for _ in range(2):
        sink.start()
        with session(sink) as client:
            assert told(client, "ann@example.net") == 250
        sink.kill()
        with (tmp_path / RECEIPTS).open("ab") as file:
            file.write(b'{"at":1.0,"what":"ma')
    assert [receipt.what for receipt in sink.receipts()].count("mail") == 2

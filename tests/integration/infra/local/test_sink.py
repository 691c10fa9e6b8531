"""The sink: a real SMTP server in its own process, whose file survives a kill."""

import smtplib
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from drivers.free_ports import free_port

from infra.local.sink import scripted_reply
from infra.local.sink_mails import MAILS, MailFile, ReceivedMail, read_messages
from infra.local.sink_process import Sink

MAIL = b"Subject: hello\r\n\r\n.dotted\r\nbody\r\n"


def send(port: int, to: str, raw: bytes = MAIL) -> tuple[int, bytes]:
    """The reply to the mail, from whichever command gave the last one."""
    with smtplib.SMTP("127.0.0.1", port, local_hostname="test", timeout=10) as client:
        try:
            client.sendmail("a@example.net", [to], raw)
        except smtplib.SMTPRecipientsRefused as refused:
            return refused.recipients[to]
        except smtplib.SMTPDataError as refused:
            return refused.smtp_code, refused.smtp_error if isinstance(refused.smtp_error, bytes) else b""
    return 250, b""


@pytest.fixture
def sink(tmp_path: Path):  # type: ignore[no-untyped-def]
    with Sink(free_port(), tmp_path) as running:
        yield running


def test_a_mail_is_kept_byte_for_byte(sink: Sink) -> None:
    assert send(sink.port, "ann@example.net")[0] == 250
    [kept] = sink.messages()
    assert (kept.mail_from, kept.rcpt_to, kept.raw) == ("a@example.net", "ann@example.net", MAIL)


def test_a_recipient_gets_the_replies_it_asks_for(sink: Sink) -> None:
    assert [send(sink.port, "451-2+x@example.net")[0] for _ in range(4)] == [451, 451, 250, 250]
    assert [send(sink.port, "550@example.net")[0] for _ in range(3)] == [550, 550, 550]
    assert send(sink.port, "data-552@example.net")[0] == 552
    assert len(list(sink.messages())) == 2


def test_a_drop_after_the_dot_gives_no_reply_and_keeps_the_mail_only_on_request(sink: Sink) -> None:
    for local_part, kept in (("drop-after-dot-1", 0), ("keep-then-drop-1", 1)):
        with pytest.raises(smtplib.SMTPServerDisconnected):
            send(sink.port, f"{local_part}@example.net")
        assert sum(mail.rcpt_to.startswith(local_part) for mail in sink.messages()) == kept
        assert send(sink.port, f"{local_part}@example.net")[0] == 250


def test_a_script_gives_replies_to_chosen_addresses(tmp_path: Path) -> None:
    with Sink(free_port(), tmp_path, {"*@slow.example": "451"}) as sink:
        assert send(sink.port, "ann@slow.example")[0] == 451
        assert send(sink.port, "ann@example.net")[0] == 250


def test_acknowledged_mails_survive_a_kill_and_the_sink_continues_in_the_same_file(tmp_path: Path) -> None:
    first = Sink(free_port(), tmp_path)
    first.start()
    for number in range(20):
        assert send(first.port, f"user{number}@example.net")[0] == 250
    first.kill()
    with (tmp_path / MAILS).open("ab") as file:
        file.write(b'{"received_at": 1.0, "mail_fr')
    assert len(list(read_messages(tmp_path))) == 20
    with Sink(free_port(), tmp_path) as second:
        assert send(second.port, "late@example.net")[0] == 250
    assert [mail.rcpt_to for mail in read_messages(tmp_path)][-2:] == ["user19@example.net", "late@example.net"]


def test_a_second_sink_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    store = MailFile(tmp_path)
    with pytest.raises(SystemExit, match="another sink"):
        MailFile(tmp_path)
    store.keep(ReceivedMail("", "ann@example.net", b"\x00\xff", 1.5))
    assert list(read_messages(tmp_path)) == [ReceivedMail("", "ann@example.net", b"\x00\xff", 1.5)]


def test_a_port_in_use_is_reported_in_one_line(tmp_path: Path, sink: Sink) -> None:
    with pytest.raises(RuntimeError, match=rf"{sink.port}.*another server"):
        Sink(sink.port, tmp_path / "other").start()


@pytest.mark.parametrize("local_part", ["ann", "451x", "351", "drop-after", "451-", "data-", "550-1-2"])
def test_other_local_parts_ask_for_nothing(local_part: str) -> None:
    assert scripted_reply(local_part) is None


def test_a_reader_during_writing_sees_only_complete_mails(tmp_path: Path) -> None:
    line = orjson.dumps({"mail_from": "a", "rcpt_to": "b", "raw": "", "received_at": 1.0}).decode()
    halves = f"import os\nfor _ in range(40_000): os.write(1, b'{line[:20]}'); os.write(1, b'{line[20:]}\\n')"
    with (tmp_path / MAILS).open("wb") as file:
        writer = subprocess.Popen([sys.executable, "-c", halves], stdout=file)
    counts = []
    while writer.poll() is None:
        counts.append(sum(1 for _ in read_messages(tmp_path)))
    assert counts == sorted(counts)
    assert sum(1 for _ in read_messages(tmp_path)) == 40_000

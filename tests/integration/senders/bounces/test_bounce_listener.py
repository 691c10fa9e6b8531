"""The bounce listener on real sockets, Kafka and PostgreSQL: what it takes, what it refuses, and what becomes of it."""

import smtplib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from drivers.bounce_listener import COMMAND, DOMAIN, KEYS, RunningListener, listening
from drivers.real_servers import RealServers
from pydantic import SecretStr

from schemas.vocabulary import OutcomeKind
from senders.bounces import inbox
from senders.bounces.mime import ReturnedMail, read_mail

pytestmark = pytest.mark.servers


def report(recipient: str = "ann@example.net", text: str = "550 5.1.1 User unknown", action: str = "failed") -> bytes:
    return (
        "From: MAILER-DAEMON@mx.example\r\nSubject: Undelivered Mail Returned to Sender\r\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
        f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: 5.0.0\r\n"
        f"Diagnostic-Code: smtp; {text}\r\n"
        "\r\n--b--\r\n"
    ).encode()


def complaint(kind: str, return_path: str) -> bytes:
    return (
        "From: fbl@provider.example\r\nSubject: complaint\r\n"
        "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n"
        f"--b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: {kind}\r\nVersion: 1\r\n"
        f"Original-Mail-From: <{return_path}>\r\n\r\n"
        "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: hello@harbour.example\r\nTo: ann@example.net\r\n\r\n"
        "hello\r\n--b--\r\n"
    ).encode()


@pytest.fixture
def listener(servers: RealServers, database_url: str) -> Iterator[RunningListener]:
    yield from listening(servers, database_url)


def test_a_report_at_a_signed_return_path_is_a_bounce_with_class_and_hardness(listener: RunningListener) -> None:
    listener.send(listener.path(), report())
    listener.send(listener.path(key=KEYS[1]).upper(), report(text="552 5.2.2 mailbox full"))
    hard, soft = sorted(listener.outcomes(2), key=lambda outcome: not outcome.hard)
    assert (hard.command_id, hard.user_id, hard.kind) == (COMMAND, "u1", OutcomeKind.BOUNCED)
    assert (hard.classification, hard.hard, soft.classification, soft.hard) == (
        "invalid_recipient",
        True,
        "quota_issues",
        False,
    )
    assert hard.classifier_hash
    assert "ann@" not in (hard.reply.text if hard.reply else "")
    assert abs((datetime.now(UTC) - hard.time).total_seconds()) < 60


def test_a_mail_that_comes_twice_is_one_fact(listener: RunningListener) -> None:
    written = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    mail = f"Date: {format_datetime(written)}\r\n".encode() + report()
    listener.send(listener.path(), mail)
    listener.send(listener.path(), mail)
    first, again = listener.outcomes(2)
    assert first.id == again.id
    assert first.time == again.time == written


def test_an_unsigned_or_forged_return_path_and_all_other_addresses_are_refused(listener: RunningListener) -> None:
    forged = listener.path(key=SecretStr("x" * 16))
    for recipient in (f"b-{'a' * 42}@{DOMAIN}", forged, f"ann@{DOMAIN}", "ann@example.net", f"postmaster@{DOMAIN}"):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            listener.send(recipient, report())
        assert refused.value.recipients[recipient][0] == 550
    assert listener.outcomes(0) == []


def test_a_complaint_counts_by_the_return_path_in_it_and_not_spam_suppresses_nobody(listener: RunningListener) -> None:
    address = f"fbl@{DOMAIN}"
    listener.send(address, complaint("abuse", listener.path()))
    listener.send(address, complaint("not-spam", listener.path()))
    listener.send(address, complaint("abuse", listener.path(key=SecretStr("x" * 16))))
    listener.send(address, report())
    [outcome] = listener.outcomes(1)
    assert (outcome.kind, outcome.command_id, outcome.user_id) == (OutcomeKind.COMPLAINED, COMMAND, "u1")


def test_a_complaint_is_read_once_and_beside_the_event_loop(
    listener: RunningListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def read(content: bytes) -> ReturnedMail:
        threads.append(threading.current_thread().name)
        return read_mail(content)

    monkeypatch.setattr(inbox, "read_mail", read)
    listener.send(f"fbl@{DOMAIN}", complaint("abuse", listener.path()))
    assert len(listener.outcomes(1)) == 1
    assert threads == ["bounce"]


def test_automatic_answers_successes_and_other_commands_have_no_outcome(listener: RunningListener) -> None:
    listener.send(
        listener.path(),
        b"From: ann@example.net\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nback on Monday\r\n",
    )
    listener.send(listener.path(), report(action="relayed"))
    listener.send(listener.path("ff" * 16), report())
    assert listener.outcomes(0) == []


def test_sizes_recipients_and_rates_are_bounded(servers: RealServers, database_url: str) -> None:
    for listener in listening(
        servers, database_url, bounces_max_bytes=10_000, bounces_per_second=0.1, bounces_connections=2
    ):
        with smtplib.SMTP("127.0.0.1", listener.settings.bounces_port, timeout=30) as client:
            client.ehlo()
            client.mail("")
            assert client.rcpt(listener.path())[0] == 250
            assert client.rcpt(listener.path("ff" * 16))[0] == 452
            assert client.data(report() + b"x\r\n" * 10_000)[0] == 552
            second = smtplib.SMTP("127.0.0.1", listener.settings.bounces_port, timeout=30)
            with pytest.raises(smtplib.SMTPConnectError, match="421"):
                smtplib.SMTP("127.0.0.1", listener.settings.bounces_port, timeout=30)
            second.quit()
        listener.send(listener.path(), report())
        with pytest.raises(smtplib.SMTPDataError, match="451"):
            listener.send(listener.path(), report())
        assert len(listener.outcomes(1)) == 1


def test_lmtp_is_spoken_too(servers: RealServers, database_url: str) -> None:
    for listener in listening(servers, database_url, bounces_protocol="lmtp"):
        with smtplib.LMTP("127.0.0.1", listener.settings.bounces_port) as client:
            client.sendmail("", [listener.path()], report())
        assert listener.outcomes(1)[0].hard is True

"""A real mail server writes real bounces to the listener: Postfix, whose next server refuses."""

import smtplib
from pathlib import Path

import pytest
from drivers.bounce_listener import COMMAND, DOMAIN, listening
from drivers.free_ports import free_port
from drivers.mail_certificates import Authority
from drivers.postfix_receiver import postfix_receiver
from drivers.real_servers import RealServers

from infra.local.sink_process import Sink
from schemas.vocabulary import OutcomeKind

pytestmark = pytest.mark.servers
MAIL = "From: hello@harbour.example\r\nTo: {to}\r\nSubject: hello\r\n\r\nhello\r\n"


def test_postfix_reports_to_the_signed_return_path(servers: RealServers, database_url: str, tmp_path: Path) -> None:
    chain = Authority(tmp_path).vouch_for("mx.example").file
    sink = Sink(free_port(), tmp_path / "sink")
    sink.start()
    try:
        for listener in listening(servers, database_url):
            returns_to = (DOMAIN, listener.settings.bounces_port)
            with (
                postfix_receiver(tmp_path / "postfix", chain, sink.port, returns_to) as port,
                smtplib.SMTP("127.0.0.1", port, timeout=30) as client,
            ):
                for to in ("550@example.net", "554@example.net", "data-552@example.net"):
                    client.sendmail(listener.path(), [to], MAIL.format(to=to))
                outcomes = listener.outcomes(3)
    finally:
        sink.stop()
    assert {(outcome.kind, outcome.command_id) for outcome in outcomes} == {(OutcomeKind.BOUNCED, COMMAND)}
    assert {(outcome.classification, outcome.hard) for outcome in outcomes} == {
        ("invalid_recipient", True),
        ("policy_related", False),
        ("quota_issues", False),
    }

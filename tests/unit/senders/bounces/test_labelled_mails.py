"""A large labelled set: what servers say, in the dialects of many, and what is no bounce at all.

Each text of `said.txt` comes in each dialect of `drivers/bounce_dialects.py`; `other_mails.txt` has the rest.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from drivers.bounce_dialects import DIALECTS, Dialect, Said, imail

from senders.bounces.classifier import load_classifier
from senders.bounces.returned_mail import Finding, MailKind, read_returned_mail

FOLDER = Path(__file__).parent
RECIPIENT = "ann.bee@shop.example"


def texts() -> list[Said]:
    return list(_texts())


def _texts() -> Iterator[Said]:
    for line in (FOLDER / "said.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            hard, code, status, text = line.split(" ", 3)
            yield Said(hard == "hard", int(code), status, text)


def others() -> list[tuple[str, str]]:
    """Mails that are no bounce, with their kinds."""
    found = []
    for block in (FOLDER / "other_mails.txt").read_text(encoding="utf-8").split("\n=====\n"):
        kind, _, mail = block.strip("\n").partition("\n")
        found.append((kind, mail))
    return found


def read(mail: bytes) -> list[Finding]:
    return read_returned_mail(mail, load_classifier())


def test_the_set_is_large() -> None:
    assert len(DIALECTS) * len(texts()) + len(others()) > 2000


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.__name__)
def test_a_dialect_is_understood(dialect: Dialect) -> None:
    wrong = []
    for said in texts():
        findings = read(dialect(RECIPIENT, said))
        found = [(finding.kind, finding.recipient.lower(), finding.hard) for finding in findings]
        if found != [(MailKind.BOUNCE, RECIPIENT, said.hard)]:
            wrong.append((said.reply, found, findings[0].bounce_class, findings[0].rule))
    assert wrong == []


@pytest.mark.parametrize(("kind", "mail"), others())
def test_what_is_no_bounce_is_told_apart(kind: str, mail: str) -> None:
    findings = read(mail.encode())
    assert [finding.kind.value for finding in findings] == [kind], mail[:400]
    assert not findings[0].hard


def test_several_recipients_in_one_mail_have_findings_of_their_own() -> None:
    fields = "\n".join(
        f"Final-Recipient: rfc822; {name}@shop.example\nAction: {action}\nStatus: {status}\n"
        f"Diagnostic-Code: smtp; {text}\n"
        for name, action, status, text in (
            ("ann", "failed", "5.1.1", "550 5.1.1 User unknown"),
            ("bob", "failed", "5.0.0", "550 mailbox full"),
            ("eve", "delayed", "4.4.1", "connection timed out"),
            ("joe", "delivered", "2.0.0", "250 ok"),
        )
    )
    mail = (
        "From: MAILER-DAEMON@relay.example\nSubject: Undelivered\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        f"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n{fields}\n--b--\n"
    )
    found = [(finding.recipient.partition("@")[0], finding.hard) for finding in read(mail.encode())]
    assert found == [("ann", True), ("bob", False), ("eve", False)]


def test_several_recipients_without_fields_have_the_words_beside_them() -> None:
    body = (
        "Hi. This is the qmail-send program at relay.example.\nI'm afraid I wasn't able to deliver your message.\n\n"
        "<ann@shop.example>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n"
        "<bob@shop.example>:\nThe user's mailbox is over quota.\n\n--- Below this line is a copy of the message.\n\n"
        "To: carol@shop.example\n"
    )
    found = read(f"From: MAILER-DAEMON@relay.example\nSubject: failure notice\n\n{body}".encode())
    assert [(finding.recipient, finding.hard) for finding in found] == [
        ("ann@shop.example", True),
        ("bob@shop.example", False),
    ]


def test_a_recipient_that_only_the_returned_mail_names_is_found() -> None:
    mail = imail("", Said(True, 550, "5.1.1", "User unknown")).replace(b"To: <>", b"To: <ann@shop.example>")
    assert [finding.recipient for finding in read(mail)] == ["ann@shop.example"]


def test_a_report_that_passes_another_one_on_says_what_that_says() -> None:
    inner = imail_report("ann@shop.example")
    mail = (
        "From: Mail Delivery Subsystem <MAILER-DAEMON@gateway.example>\nSubject: Returned mail\n"
        "Content-Type: multipart/mixed; boundary=outer\n\n--outer\nContent-Type: text/plain\n\n"
        "----- The following addresses had permanent delivery errors -----\n\n"
        f"--outer\nContent-Type: message/rfc822\n\n{inner}\n--outer--\n"
    )
    assert [(finding.recipient, finding.hard) for finding in read(mail.encode())] == [("ann@shop.example", True)]


def test_a_machine_is_known_by_its_address_alone() -> None:
    mail = b"From: MAILER-DAEMON@relay.example\n\nI wasn't able to deliver it.\n\n<ann@shop.example>: User unknown\n"
    assert [(finding.recipient, finding.hard) for finding in read(mail)] == [("ann@shop.example", True)]


def imail_report(recipient: str) -> str:
    return (
        "From: MAILER-DAEMON@relay.example\nSubject: Undelivered\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=inner\n\n"
        "--inner\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n"
        f"Final-Recipient: rfc822; {recipient}\nAction: failed\nStatus: 5.4.4 (Illegal host/domain name found)\n"
        "--inner--\n"
    )


def test_a_returned_mail_without_a_type_and_a_disclaimer_are_not_the_report() -> None:
    mail = (
        "From: MAILER-DAEMON@relay.example\nSubject: Returned mail\nContent-Type: multipart/mixed; boundary=b\n\n"
        "--b\nContent-Type: text/plain\n\n---The following addresses had delivery errors---\n\n"
        "ann@shop.example [User unknown]\n\nThis e-mail is confidential. Attachments may contain a virus.\n"
        "--b\nReceived: from a by b\nFrom: hello@harbour.example\nTo: ann@shop.example\n\neve@shop.example\n--b--\n"
    )
    assert [(finding.recipient, finding.hard) for finding in read(mail.encode())] == [("ann@shop.example", True)]

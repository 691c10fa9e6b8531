"""Whatever comes to a return path gets its findings, in bounded time, without an exception."""

import contextlib
import time
from email.message import EmailMessage

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from senders.bounces.classifier import load_classifier
from senders.bounces.delivery_status import MAX_RECIPIENTS
from senders.bounces.mime import MAX_MAIL, MAX_PARTS, Headers, read_mail
from senders.bounces.refusal import MAX_READ
from senders.bounces.report_text import ReportText
from senders.bounces.returned_mail import MailKind, read_returned_mail
from senders.bounces.rule_files import InvalidBounceRules, read_rules

PIECES = st.sampled_from(
    [
        b"From: MAILER-DAEMON@mx.example\n",
        b"To: <bounce@ours.example>\n",
        b"Subject: Undelivered Mail Returned to Sender\n",
        b"Subject: =?utf-8?B?w4k=?= =?bad?Q?=ZZ?= =?iso-2022-jp?B?GyRC?=\n",
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=b\n",
        b'Content-Type: multipart/mixed; boundary="b\n',
        b"Content-Type: message/delivery-status\n",
        b"Content-Type: message/feedback-report\n",
        b"Content-Type: message/rfc822\n",
        b"Content-Type: text/html; charset=idna\n",
        b'Content-Type: text/plain; charset="x-nowhere"\n',
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: quoted-printable\n",
        b"X-Failed-Recipients: ann@example.net,,@,\n",
        b"\n",
        b"--b\n",
        b"--b--\n",
        b"Final-Recipient: rfc822;ann@example.net\nAction: failed\nStatus: 5.1.1\n",
        b"Final-Recipient: rfc822\nAction: ;\nStatus: 9.9.9\nDiagnostic-Code:\n",
        b"Feedback-Type: abuse\nOriginal-Rcpt-To: <ann@example.net>\n",
        b"<ann@example.net>: 550 user unknown\n",
        b"=E9=\n",
        b"\xff\xfe\x00<\x1b$B@\x1b(B",
    ]
)
MAILS = st.binary(max_size=2000) | st.lists(PIECES | st.binary(max_size=40), max_size=40).map(b"".join)


@given(MAILS)
@example(b"")
@example(b"\n\n\n")
@example(b"From ")
@example(b":\n:")
def test_any_bytes_have_a_finding(raw: bytes) -> None:
    findings = read_returned_mail(raw, load_classifier())
    assert findings
    for finding in findings:
        assert not finding.hard or finding.kind is MailKind.BOUNCE
        assert len(finding.recipient) < 1000


@given(MAILS)
def test_the_same_bytes_have_the_same_findings(raw: bytes) -> None:
    assert read_returned_mail(raw, load_classifier()) == read_returned_mail(raw, load_classifier())


def nested(depth: int) -> bytes:
    heads = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (number, number) for number in range(depth)
    )
    return BOUNCE + heads + b"\n<ann@example.net>: 550 user unknown\n"


def in_parts(*parts: bytes) -> bytes:
    """Several parts, each with its own header: no more than 64 KB of one are read."""
    return b"Content-Type: multipart/report; boundary=b\n\n" + b"".join(b"--b\n" + part for part in parts) + b"--b--\n"


def addresses(number: int) -> bytes:
    return b" ".join(b"a%d@b%d.ex" % (each, each) for each in range(number, number + 3300))


BOUNCE = b"From: mailer-daemon@mx.example\n"
LISTED = [b"\n" + addresses(3300 * part) + b"\n" for part in range(32)]
"""Parts of one long line each, which together name 100,000 addresses."""
NAMED_OFTEN = [
    b"\n" + b"".join(addresses(400 * line + 5000 * part)[:5000] + b"\n" for line in range(12)) for part in range(30)
]
NO_ADDRESSES = b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n" + b"\n".join(
    b"Final-Recipient: rfc822; a%d\nAction: failed\n" % number for number in range(200)
)
HOSTILE = {
    "100,000 addresses": BOUNCE + in_parts(*LISTED),
    "addresses in lines of 5 KB": BOUNCE + in_parts(*NAMED_OFTEN),
    "200 recipients without an address": BOUNCE + in_parts(NO_ADDRESSES + b"\n", *NAMED_OFTEN),
    "addresses of the returned mail": BOUNCE
    + in_parts(
        *NAMED_OFTEN,
        b"Content-Type: message/rfc822\n\n" + b"".join(b"To: " + addresses(i)[:3900] + b"\n" for i in range(90)),
    ),
    "failed recipients": BOUNCE + (b"X-Failed-Recipients: " + b"a," * 1900 + b"a" * 60 + b"\n") * 390 + b"\n",
    "failed recipients, of long words": BOUNCE + (b"X-Failed-Recipients: " + b"a" * 3900 + b"\n") * 390 + b"\n",
    "lines of number signs": BOUNCE + in_parts(*[b"\n" + (b"#" * 5000 + b"\n") * 12] * 30),
    "number signs before at signs": BOUNCE + in_parts(*[b"\n" + (b"#" * 1900 + b"@" + b"#" * 90 + b"@x\n") * 30] * 30),
    "number signs between at signs": BOUNCE + in_parts(*[b"\n" + (b"#@" * 1000 + b"\n") * 30] * 30),
    "words before at signs": BOUNCE + in_parts(*[b"\n" + (b"a " * 150 + b"a" * 64 + b"@") * 80 + b"\n"] * 60),
    "words before five at signs a line": BOUNCE + in_parts(*[b"\n" + ((b"#" * 299 + b"@") * 5 + b"\n") * 40] * 30),
    "lines of blanks": BOUNCE + in_parts(*[b"\n" + (b" " * 5000 + b"\n") * 12] * 30),
    "URLs": BOUNCE + in_parts(*[b"\n" + (b"http://a " * 500 + b"\n") * 13] * 30),
    "at signs beside brackets": BOUNCE + in_parts(*[b"\n" + (b"<a@" * 1400 + b"\n") * 14] * 20),
    "brackets": BOUNCE + in_parts(*[b"\n" + (b"@" + b"<" * 4500 + b"\n") * 14] * 30),
    "letters of many": BOUNCE + in_parts(*[b"\n" + ("\ufdfa" * 4096 + "\n").encode() * 5] * 32),
    "words of a heading": BOUNCE + in_parts(*[b"\n" + (b"recipient:" * 200 + b"\n") * 30] * 30),
    "nested 1,000 deep": nested(1000),
    "mails in mails": b"Content-Type: message/rfc822\n\n" * 1000,
    "a million parts": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 1_000_000,
    "a header of a megabyte": b"Subject: " + b"=?utf-8?Q?=41?= " * 100_000 + b"\n\n",
    "a million headers": b"A: b\n" * 1_000_000,
    "a million tags": BOUNCE + b"Content-Type: text/html\n\n" + b"<style><a <" * 200_000,
    "a million at signs": BOUNCE + b"Subject: undeliverable\n\n" + b"a@" * 1_000_000,
    "a long address": BOUNCE + b"Subject: undeliverable\n\n" + b"a" * 1_000_000 + b"@" + b"b." * 99,
    "a base64 bomb": b"Content-Transfer-Encoding: base64\nFrom: mailer-daemon@mx.example\n\n" + b"QUFB" * 1_000_000,
    "many recipients": b"Content-Type: message/delivery-status\n\n"
    + b"\n".join(b"Final-Recipient: rfc822;a%d@example.net\nAction: failed\n" % number for number in range(50_000)),
    "punycode": BOUNCE + b"Content-Type: text/plain; charset=punycode\n\n" + b"\xff" + b"a" * 500_000,
    "parameters": b"Content-Type: multipart/mixed" + b'; a="b' * 200_000 + b"\n\n",
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_mail_costs_less_than_two_seconds(raw: bytes) -> None:
    began = time.process_time()
    assert read_returned_mail(raw, load_classifier())
    assert time.process_time() - began < 2
    assert len(read_mail(raw).parts) <= MAX_PARTS


def test_a_mail_has_findings_for_no_more_than_200_recipients() -> None:
    assert len(read_returned_mail(HOSTILE["100,000 addresses"], load_classifier())) == MAX_RECIPIENTS


def test_what_is_kept_about_a_recipient_is_no_more_than_is_read() -> None:
    line = "ann@example.net " + "x" * 60_000
    text = ReportText((line,) * 400, "", Headers(), False)
    assert len(text.about(["ann@example.net"])["ann@example.net"]) == MAX_READ


def test_no_more_than_two_megabytes_of_a_mail_are_read() -> None:
    late = b"x" * MAX_MAIL + b"\n<ann@example.net>: 550 user unknown\n"
    [finding] = read_returned_mail(b"From: a@example.org\n\n" + late, load_classifier())
    assert finding.kind is MailKind.NONE


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_a_report_that_the_standard_library_writes_is_read(text: str) -> None:
    report = EmailMessage()
    report["From"] = "Mail Delivery System <mailer-daemon@mx.example>"
    report["Subject"] = "Undelivered Mail Returned to Sender"
    report.set_content("<ann@example.net>: 550 5.1.1 User unknown\n\n" + text.replace("\ud800", ""), cte="base64")
    assert read_returned_mail(report.as_bytes(), load_classifier())[0].kind is MailKind.BOUNCE


LINES = [b"[[rules]]\n", b"name='a'\n", b"class='b'\n", b"text=['(']\n", b"[classes.b]\n", b"about=1\n"]


@given(st.binary(max_size=300) | st.lists(st.sampled_from(LINES)).map(b"".join))
def test_a_rules_file_is_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(InvalidBounceRules):
        assert read_rules(content, "own.toml").name == "own.toml"

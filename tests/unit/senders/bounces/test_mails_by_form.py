"""Mails of many forms and languages: kind, recipients, and whether each is condemned.

`mails_by_form.txt` holds whole mails; `said_in_languages.txt` words that come in several forms each; `absences.txt`
what readers' programs answer; `replies/documented.txt` what servers are documented to say.
"""

import quopri
from base64 import b64encode, encodebytes
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from senders.bounces.classifier import load_classifier
from senders.bounces.returned_mail import Finding, MailKind, read_returned_mail

FOLDER = Path(__file__).parent
RECIPIENT = "ann@shop.example"
HARD = ("unknown", "moved", "domain")
CHARSETS = {
    "pl": "iso-8859-2",
    "ru": "koi8-r",
    "ja": "iso-2022-jp",
    "zh": "gb18030",
    "ko": "euc-kr",
    "tr": "iso-8859-9",
}
CHARSETS |= {"cs": "windows-1250", "hu": "iso-8859-2", "ro": "iso-8859-16", "el": "iso-8859-7", "uk": "windows-1251"}


def read(mail: bytes) -> list[Finding]:
    return read_returned_mail(mail, load_classifier())


def lines(name: str) -> list[str]:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def mails() -> Iterator[tuple[str, list[tuple[str, str, str]], bytes]]:
    for block in (FOLDER / "mails_by_form.txt").read_text(encoding="utf-8").split("\n=====\n")[1:]:
        label, _, mail = block.partition("\n\n")
        name, *said = label.strip("\n").splitlines()
        charset = next((line.split()[1] for line in said if line.startswith("charset ")), "utf-8")
        expected = [tuple(line.split(" ", 2)) for line in said if not line.startswith("charset ")]
        yield name, [(kind, recipient, fate) for kind, recipient, fate in expected], mail.encode(charset)


@pytest.mark.parametrize(
    ("name", "expected", "mail"), list(mails()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_mail_says_what_its_form_means(name: str, expected: list[tuple[str, str, str]], mail: bytes) -> None:
    found = [(each.kind.value, each.recipient.lower() or "-", "hard" if each.hard else "soft") for each in read(mail)]
    if [recipient for _, recipient, _ in expected] == ["*"]:
        expected = [(expected[0][0], found[0][1], expected[0][2])]
    assert found == expected, name


def plain(language: str, said: str) -> bytes:
    charset = CHARSETS.get(language, "iso-8859-1")
    return _head(f"text/plain; charset={charset}") + f"Undeliverable:\n\n{RECIPIENT}\n{said}\n".encode(charset)


def quoted(_language: str, said: str) -> bytes:
    head = _head("text/plain; charset=utf-8", "Content-Transfer-Encoding: quoted-printable\n")
    return head + quopri.encodestring(f"  {RECIPIENT}\n    {said}\n".encode())


def html(_language: str, said: str) -> bytes:
    head = _head("text/html; charset=utf-8", "Content-Transfer-Encoding: base64\n")
    return head + encodebytes(f'<p><a href="mailto:{RECIPIENT}">{RECIPIENT}</a><br>{said}</p>'.encode())


def report(_language: str, said: str) -> bytes:
    return (
        _head("multipart/report; report-type=delivery-status; boundary=b")
        + (
            f"--b\nContent-Type: text/plain; charset=utf-8\n\n{RECIPIENT}\n{said}\n"
            "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; relay.example\n\n"
            f"Final-Recipient: rfc822; {RECIPIENT}\nAction: failed\nStatus: 5.0.0\n\n--b--\n"
        ).encode()
    )


def _head(content_type: str, more: str = "") -> bytes:
    return (
        f"Return-Path: <>\nFrom: Postmaster <postmaster@relay.example>\nTo: bounces@harbour.example\n"
        f"Subject: Undeliverable\n{more}Content-Type: {content_type}\n\n"
    ).encode()


@pytest.mark.parametrize("form", [plain, quoted, html, report], ids=lambda form: form.__name__)
def test_a_language_is_understood_in_each_form(form: Callable[[str, str], bytes]) -> None:
    wrong = []
    for line in lines("said_in_languages.txt"):
        language, meaning, said = line.split("|", 2)
        findings = read(form(language, f"{said} ann.new@else.example" if said.endswith((":", "：")) else said))
        found = [(finding.kind, finding.recipient, finding.hard) for finding in findings]
        if found != [(MailKind.BOUNCE, RECIPIENT, meaning in HARD)]:
            wrong.append((line, found, findings[0].rule))
    assert wrong == []


@pytest.mark.parametrize(
    "fields", ["Auto-Submitted: auto-replied", "Auto-Submitted: auto-generated\nIn-Reply-To: <1@harbour.example>", ""]
)
def test_an_absence_is_an_automatic_answer(fields: str) -> None:
    wrong = []
    for line in lines("absences.txt"):
        _, subject, body = line.split("|", 2)
        word = b64encode(subject.encode()).decode()
        mail = f"Return-Path: <>\nFrom: {RECIPIENT}\nSubject: =?utf-8?B?{word}?=\n{fields}\n".replace("\n\n", "\n")
        findings = read(f"{mail}Content-Type: text/plain; charset=utf-8\n\n{body}\n".encode())
        if [finding.kind for finding in findings] != [MailKind.AUTO_REPLY]:
            wrong.append(line)
    assert wrong == []


@pytest.mark.parametrize("reason", ["The reason was:\n    ", "host mx.shop.example[192.0.2.7] said:\n    "])
def test_documented_words_condemn_or_spare(reason: str) -> None:
    wrong = []
    for line in lines("replies/documented.txt"):
        fate, said = line.split(" ", 1)
        body = f"Your message could not be delivered to:\n\n    ann@example.net\n\n{reason}{said}\n"
        findings = read(_head("text/plain; charset=utf-8") + body.encode())
        found = [(finding.kind, finding.hard) for finding in findings]
        if found != [(MailKind.BOUNCE, fate == "hard")]:
            wrong.append((line, findings[0].bounce_class, findings[0].rule))
    assert wrong == []

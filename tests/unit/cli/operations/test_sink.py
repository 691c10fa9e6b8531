"""`ebbtide sink show` and `list`: a mail that the sink took, as a person sees it."""

import json
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import app
from cli.operations.mail_view import lines, read_html, view
from infra.local.sink_mails import MailFile, ReceivedMail
from senders.content.message import Mail, Mailbox, compose

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
HTML = """<!DOCTYPE html><html><head><title>Not shown</title><style>p {color: red}</style></head>
<body><div style="display:none;max-height:0">Two things</div>
<h1>Your   cart</h1><p>Hello <b>Zoë</b> &amp; Co,<br>we have kept:</p>
<ul><li>Blue &lt;Train&gt;</li><li><a href="https://shop.example/2">Être</a></li></ul>
<table><tr><td>Total</td><td>$27.50</td></tr></table>
<p><a href="https://shop.example">https://shop.example</a> <img src="x" alt="a record"><img src="pixel"></p>
<script>alert(1)</script></body></html>"""
READ = """Your cart

Hello Zoë & Co,
we have kept:

- Blue <Train>
- Être (https://shop.example/2)

Total  $27.50

https://shop.example [a record][picture]"""


def ours() -> bytes:
    sender = Mailbox.of("Läden und Gärten am alten Hafen " * 4, "shop@läden.example")
    reply_to = Mailbox("Ann", "ann@shop.example")
    subject = "Ein sehr langer Betreff über Schallplatten, der gefaltet und verschlüsselt wird"
    mail = Mail("ab" * 16, sender, "zoe@mail.example", subject, [HTML], ["Hello Zoë,"], NOW, "shop.example", reply_to)
    return bytes(compose(mail))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    store = MailFile(tmp_path / "sink")
    store.keep(
        ReceivedMail("shop@shop.example", "bo@mail.example", b"Subject: first\r\n\r\nHi Bo\r\n", NOW.timestamp())
    )
    store.keep(ReceivedMail("shop@shop.example", "zoe@mail.example", ours(), NOW.timestamp() + 1))
    return tmp_path / "sink"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["sink", *map(str, arguments)])


def test_the_last_mail_is_shown_as_a_person_sees_it(kept: Path) -> None:
    assert run("show", "--directory", kept).stdout.splitlines() == [
        "mail 2 to zoe@mail.example, 2026-11-22 03:00:01 UTC",
        f"From:      {('Läden und Gärten am alten Hafen ' * 4).strip()} <shop@xn--lden-loa.example>",
        "To:        zoe@mail.example",
        "Reply-To:  Ann <ann@shop.example>",
        "Subject:   Ein sehr langer Betreff über Schallplatten, der gefaltet und verschlüsselt wird",
        "Date:      Sun, 22 Nov 2026 03:00:00 +0000",
        "Preheader: Two things",
        "",
        "── text ──",
        "Hello Zoë,",
        "",
        "── HTML ──",
        *READ.split("\n"),
    ]


def test_a_mail_is_chosen_by_number_or_by_recipient_and_its_parts_are_written(kept: Path, tmp_path: Path) -> None:
    assert "Subject:   first" in run("show", 1, "--directory", kept).stdout
    assert "Subject:   first" in run("show", "--to", "BO@mail.example", "--directory", kept).stdout
    assert run("show", "--raw", "--directory", kept).stdout_bytes == ours()
    assert run("show", "--html", tmp_path / "mail.html", "--directory", kept).stderr == f"wrote {tmp_path}/mail.html\n"
    assert (tmp_path / "mail.html").read_text() == HTML + "\n"
    found = json.loads(run("show", "--json", "--directory", kept).stdout)
    assert (found["number"], found["rcpt_to"], found["reply_to"]) == (2, "zoe@mail.example", "Ann <ann@shop.example>")
    assert (found["text"], found["html_as_text"], found["preheader"]) == ("Hello Zoë,\n", READ, "Two things")


def test_the_mails_are_listed(kept: Path) -> None:
    assert run("list", "--directory", kept).stdout.splitlines()[0] == (
        "    1  2026-11-22 03:00:00  bo@mail.example  first"
    )
    only = run("list", "--to", "zoe@mail.example", "--json", "--directory", kept).stdout.splitlines()
    assert [json.loads(line)["number"] for line in only] == [2]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("3",), "there is no mail 3; there are 1 to 2, and `ebbtide sink list` shows them"),
        (("1", "--to", "zoe@mail.example"), "mail 1 is not to zoe@mail.example; there are 1 to 2, and `ebbtide sink"),
        (("--to", "nobody@mail.example"), "no mail to nobody@mail.example in "),
        (("1", "--html", "x.html"), "mail 1 has no HTML part"),
    ],
)
def test_a_mail_that_does_not_exist_is_an_error(arguments: tuple[str, ...], expected: str, kept: Path) -> None:
    assert str(run("show", *arguments, "--directory", kept).exception).startswith(expected)


def test_an_empty_sink_says_how_a_mail_comes(tmp_path: Path) -> None:
    how = "start `ebbtide run sink`, then send one: `ebbtide send-test TEMPLATE --to you@shop.example`"
    assert str(run("show", "--directory", tmp_path).exception) == f"no mail in {tmp_path} yet; {how}"
    listed = run("list", "--directory", tmp_path)
    assert (listed.exit_code, listed.stdout.strip()) == (0, f"no mail in {tmp_path} yet; {how}")


def test_attachments_are_listed_and_terminal_control_characters_are_not_printed() -> None:
    message = EmailMessage()
    message["Subject"] = "a \x1b[31mred\x1b[0m title"
    message.set_content("a \x1b]0;title\x07 body\n\ttab")
    message.add_attachment(b"12345", maintype="application", subtype="pdf", filename="bill\x1b.pdf")
    shown = "\n".join(lines(view(message.as_bytes())))
    assert "Attached:  bill.pdf (application/pdf, 5 bytes)" in shown
    assert "a [31mred[0m title" in shown
    assert "\ttab" in shown
    assert not [letter for letter in shown if not letter.isprintable() and letter not in "\n\t"]


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        (b"", ["", "── text ──", ""]),
        (b"no header at all", ["", "── text ──", "no header at all"]),
        (
            b"Subject: =?nocharset?q?x?=\r\nContent-Type: text/plain; charset=nocharset\r\n\r\n\xff\r\n",
            ["Subject:   =?nocharset?q?x?=", "", "── text ──", "\\xff"],
        ),
        (b"Subject: =?utf-8?q?=FF?=\r\n\r\nx", ["Subject:   =?utf-8?q?=FF?=", "", "── text ──", "x"]),
    ],
)
def test_a_mail_that_cannot_be_decoded_is_shown_as_it_stands(raw: bytes, seen: list[str]) -> None:
    assert list(lines(view(raw))) == seen


@given(st.binary(max_size=300))
def test_any_bytes_can_be_shown(raw: bytes) -> None:
    for line in lines(view(raw)):
        assert "\x1b" not in line


@given(st.text("<>/ab \"'=&;!-\n", max_size=80))
def test_any_html_can_be_read(html: str) -> None:
    assert "\n\n\n" not in read_html(html).text


def test_hidden_and_unclosed_elements_end_where_they_should() -> None:
    assert read_html("<p>a<div hidden>b<br>c</div>d<p>e</p></i>f").text == "ad\n\ne\n\nf"
    assert read_html("<p>a<div hidden>b<br>c</div>d").hidden == "b\nc"

"""Mails of commands. One that cannot be made fails with its reason, which contains none of the user's data."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from schemas.commands import SendCommand
from schemas.vocabulary import DeliveryReason
from senders.content.dkim import Signer
from senders.content.mail_builder import MailBuilder
from senders.content.message import Mailbox
from senders.content.render import TemplateError, parse_template, template_faults
from senders.content.signatures import SigningKey

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


@cache
def builder() -> MailBuilder:
    signer = Signer("harbour.example", [SigningKey("harbour.example", "s1", rsa.generate_private_key(65537, 2048))])
    return MailBuilder(signer, Mailbox("CD Harbour", "hello@harbour.example"))


def made(template: str, to: str = "ann@example.net", **data: object) -> bytes:
    return built(builder(), template, to, **data)


def built(
    builder: MailBuilder, template: str, to: str = "ann@example.net", purpose: str = "transactional", **data: object
) -> bytes:
    command = SendCommand(
        id="ab" * 16,
        trigger="hello",
        rule_hash="",
        occurrence="o",
        step="hello",
        user_id="u1",
        template="hello",
        template_hash="",
        purpose=purpose,
        data=data,
        decided_at=NOW,
        expires_at=NOW + timedelta(hours=1),
    )
    return builder.build(command, to, None, parse_template("hello", template), NOW)


PLAIN = "---\nsubject: '{{ word }}'\n---\nx\n--- text ---\nx\n"


@pytest.mark.parametrize(
    ("to", "word", "reason"),
    [
        ("zoë@example.net", "x", DeliveryReason.ADDRESS),
        ("ann\u200b@example.net", "x", DeliveryReason.ADDRESS),
        ("ann@example.net\r\nBcc: all@example.net", "x", DeliveryReason.ADDRESS),
        ("ann@example.net", "\ud800", DeliveryReason.TEMPLATE_INVALID),
        ("ann@example.net", "\x00", DeliveryReason.UNDEFINED),
        ("ann@example.net", "x\x00", DeliveryReason.TEMPLATE_INVALID),
        ("ann@example.net", "x\x1b[2J", DeliveryReason.TEMPLATE_INVALID),
    ],
)
def test_a_mail_that_cannot_be_composed_fails_with_the_reason(to: str, word: str, reason: DeliveryReason) -> None:
    with pytest.raises(TemplateError) as refused:
        made(PLAIN, to, word=word)
    assert refused.value.reason is reason
    assert "example.net" not in refused.value.detail


def test_mail_goes_to_an_older_address_with_a_domain_beyond_ascii() -> None:
    assert b"\r\nTo: ann@xn--bcher-kva.example\r\n" in made(PLAIN, "ann@bücher.example", word="x")


def test_a_marketing_mail_says_how_to_unsubscribe_which_list_it_is_and_who_sends_it() -> None:
    full = replace(builder(), unsubscribe_url="https://harbour.example/u/{command_id}", feedback_sender="harbour")
    mail = message_from_bytes(built(full, PLAIN, purpose="news:of/the.week", word="x"), policy=policy.SMTP)
    assert mail["List-Id"] == "<news-of-the-week.harbour.example>"
    assert mail["List-Unsubscribe"] == f"<https://harbour.example/u/{'ab' * 16}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Feedback-ID"] == "hello:hello:news-of/the.week:harbour"
    signed = "".join(mail["DKIM-Signature"].partition("h=")[2].partition(";")[0].split()).split(":")
    for name in ("list-id", "list-unsubscribe", "list-unsubscribe-post", "feedback-id", "message-id"):
        assert signed.count(name) == 2


def test_a_transactional_mail_is_of_no_list() -> None:
    mail = message_from_bytes(built(replace(builder(), feedback_sender="harbour"), PLAIN, word="x"))
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Feedback-ID"] == "hello:hello:transactional:harbour"
    assert {"List-Id", "List-Unsubscribe", "List-Unsubscribe-Post"}.isdisjoint(mail.keys())


def test_the_domain_of_the_sender_chooses_the_key_and_the_message_id_stays() -> None:
    key = rsa.generate_private_key(65537, 2048)
    signer = Signer(
        "harbour.example", [SigningKey("harbour.example", "s1", key), SigningKey("pier.example", "p1", key)]
    )
    of_the_pier = PLAIN.replace("---\n", "---\nfrom: Pier <hello@pier.example>\n", 1)
    for template, domain in ((PLAIN, "harbour.example"), (of_the_pier, "pier.example")):
        raw = built(replace(builder(), signer=signer), template, word="x")
        assert f" d={domain}; s=" in raw.decode()
        assert message_from_bytes(raw)["Message-ID"] == f"<{'ab' * 16}@harbour.example>"


def test_a_control_character_in_a_template_is_a_fault_with_its_place() -> None:
    [fault] = template_faults("hello", PLAIN.replace("---\nx", "---\ny {{ word }} z\x07", 1))
    assert "U+0007 is not allowed" in fault.detail

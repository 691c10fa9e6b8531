"""Mails of commands. One that cannot be made fails with its reason, which contains none of the user's data."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from schemas.brands import Brand, DkimName, SenderName
from schemas.commands import SendCommand
from schemas.vocabulary import DeliveryReason
from senders.content.dkim import NoSigningKey, Signer
from senders.content.links import LinkKeys, LinkKind, LinkPages, LinkToken
from senders.content.mail_builder import MailBuilder, Tracking
from senders.content.message import Mailbox
from senders.content.render import TemplateError, parse_template, template_faults
from senders.content.signatures import ALWAYS, SigningKey

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
    return builder.build(command, to, None, parse_template("hello", template), NOW).message


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


KEYS = LinkKeys(["a key of the tests"])
LINKED = """---
subject: s
---
<a href="https://shop.example/cart">x</a> {{ unsubscribe_url }} {{ preferences_url }}
--- text ---
x
"""


def parts(raw: bytes) -> tuple[EmailMessage, str]:
    """A mail, and its HTML part."""
    mail = message_from_bytes(raw, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    body = mail.get_body(("html",))
    assert body is not None
    return mail, body.get_content()


def test_a_marketing_mail_has_our_links_with_tokens_of_its_command() -> None:
    own = replace(builder(), pages=LinkPages("https://mail.shop.example", KEYS), unsubscribe_url="https://old.example/")
    mail, html = parts(built(own, LINKED, purpose="news"))
    [listed] = re.findall(r"^<https://mail\.shop\.example/u/([\w-]+)>$", mail["List-Unsubscribe"])
    assert KEYS.read(listed) == LinkToken(LinkKind.UNSUBSCRIBE, "ab" * 16)
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    kinds = [said and said.kind for said in map(KEYS.read, re.findall(r"/\w/([\w-]{38,48})", html))]
    assert kinds == [LinkKind.CLICK, LinkKind.UNSUBSCRIBE, LinkKind.PREFERENCES, LinkKind.OPEN]
    assert max(map(len, str(mail).splitlines())) <= 998


@pytest.mark.parametrize(
    ("purpose", "line", "tracking", "kinds"),
    [
        ("news", "", Tracking(), "cupo"),
        ("news", "track: [clicks]\n", Tracking(), "cup"),
        ("news", "track: []\n", Tracking(), "up"),
        ("news", "track: [opens]\n", Tracking(frozenset({"clicks"})), "up"),
        ("news", "", Tracking(frozenset({"opens"})), "upo"),
        ("news", "", Tracking(hidden_link=True), "cupco"),
        ("transactional", "", Tracking(), "pp"),
        ("transactional", "track: [opens, clicks]\n", Tracking(), "cppo"),
    ],
)
def test_settings_and_template_say_what_is_tracked(purpose: str, line: str, tracking: Tracking, kinds: str) -> None:
    own = replace(builder(), pages=LinkPages("https://mail.shop.example", KEYS), tracking=tracking)
    _, html = parts(built(own, LINKED.replace("---\n<", f"{line}---\n<"), purpose=purpose))
    assert "".join(re.findall(r"mail\.shop\.example/(\w)/", html)) == kinds


def test_without_pages_a_template_that_needs_one_fails_unless_another_is_named() -> None:
    with pytest.raises(TemplateError) as refused:
        built(builder(), PLAIN.replace("---\nx", "---\n{{ unsubscribe_url }}", 1), purpose="news", word="x")
    assert (refused.value.reason, refused.value.detail) == (DeliveryReason.UNDEFINED, "unsubscribe_url")
    named = replace(builder(), unsubscribe_url="https://old.example/{command_id}")
    _, html = parts(built(named, PLAIN.replace("---\nx", "---\n{{ unsubscribe_url }}", 1), purpose="news", word="x"))
    assert html.strip() == f"https://old.example/{'ab' * 16}"


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


BRAND = Brand(
    name="shop",
    sender=SenderName(shown="The Shop", address="mail@shop.example"),
    reply_to=SenderName(address="help@shop.example"),
    dkim=DkimName(domain="shop.example", selector="autumn"),
)


def of_brand(brand: Brand, template: str = PLAIN, purpose: str = "shop/news", **keys: SigningKey) -> EmailMessage:
    signer = Signer("harbour.example", [*builder().signer.keys, *keys.values()])
    command = SendCommand(
        id="ab" * 16,
        trigger="hello",
        rule_hash="",
        occurrence="o",
        step="hello",
        user_id="u1",
        template="hello",
        template_hash="",
        brand=brand.name,
        purpose=purpose,
        data={"word": "x"},
        decided_at=NOW,
        expires_at=NOW + timedelta(hours=1),
    )
    made = replace(builder(), signer=signer).build(
        command, "ann@example.net", None, parse_template("hello", template), NOW, brand
    )
    mail = message_from_bytes(made.message, policy=policy.SMTP)
    assert isinstance(mail, EmailMessage)
    return mail


def shop_key(selector: str = "autumn", since: datetime = ALWAYS) -> SigningKey:
    return SigningKey("shop.example", selector, rsa.generate_private_key(65537, 2048), since)


def test_a_mail_of_a_brand_has_its_sender_its_list_and_the_signature_that_it_names() -> None:
    mail = of_brand(BRAND, named=shop_key(), other=shop_key("winter"))
    assert (mail["From"], mail["Reply-To"]) == ("The Shop <mail@shop.example>", "help@shop.example")
    assert mail["List-Id"] == "<news.shop.example>"
    assert mail["Message-ID"] == f"<{'ab' * 16}@harbour.example>"
    [signature] = mail.get_all("DKIM-Signature", [])
    assert "d=shop.example; s=autumn;" in signature


def test_a_mail_that_is_sent_again_has_the_same_message_id_though_its_brand_has_changed() -> None:
    moved = BRAND.model_copy(update={"sender": SenderName(address="mail@pier.example"), "dkim": None})
    first, second = of_brand(BRAND, named=shop_key()), of_brand(moved)
    assert first["Message-ID"] == second["Message-ID"]


def test_a_template_may_name_another_sender_than_the_brand() -> None:
    mail = of_brand(BRAND, PLAIN.replace("---\nx", "from: Ann <ann@shop.example>\n---\nx", 1), named=shop_key())
    assert (mail["From"], mail["Reply-To"]) == ("Ann <ann@shop.example>", "help@shop.example")


def test_a_brand_without_a_key_of_its_own_is_signed_by_its_senders_domain() -> None:
    plain = BRAND.model_copy(update={"dkim": None, "list_id": "lists.shop.example"})
    mail = of_brand(plain, named=shop_key())
    assert "d=shop.example;" in mail["DKIM-Signature"]
    assert mail["List-Id"] == "<news.lists.shop.example>"


@pytest.mark.parametrize("keys", [{}, {"other": "winter"}, {"early": "autumn"}])
def test_a_mail_is_not_made_without_the_key_that_its_brand_names(keys: dict[str, str]) -> None:
    since = NOW + timedelta(seconds=1) if "early" in keys else ALWAYS
    with pytest.raises(NoSigningKey, match=r"autumn\._domainkey\.shop\.example"):
        of_brand(BRAND, **{name: shop_key(selector, since) for name, selector in keys.items()})

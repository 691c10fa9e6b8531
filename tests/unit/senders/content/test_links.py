"""Tokens of links: signed by kind, by any of our keys, and never by anybody else."""

import base64

import pytest

from senders.content.links import (
    HIDDEN_LINK,
    LinkKeys,
    LinkKind,
    LinkPages,
    LinkToken,
    is_target,
    link_id,
)

COMMAND = "0123456789abcdef" * 2
OLD, NEW = "the key of last year", "the key of this year"


def test_a_token_says_what_it_is_for_and_of_which_mail() -> None:
    keys = LinkKeys([NEW])
    link = link_id("https://shop.example/cart")
    assert keys.read(keys.token(LinkKind.OPEN, COMMAND)) == LinkToken(LinkKind.OPEN, COMMAND)
    assert keys.read(keys.token(LinkKind.CLICK, COMMAND, link)) == LinkToken(LinkKind.CLICK, COMMAND, link)
    assert (len(keys.token(LinkKind.UNSUBSCRIBE, COMMAND)), len(keys.token(LinkKind.CLICK, COMMAND, link))) == (38, 48)


def test_a_mails_clicks_have_the_tokens_that_the_keys_make() -> None:
    keys = LinkKeys([NEW])
    link = link_id("https://shop.example/cart")
    assert keys.clicks(COMMAND).token(link) == keys.token(LinkKind.CLICK, COMMAND, link)


def test_the_newest_key_signs_and_each_verifies() -> None:
    before, after = LinkKeys([OLD]), LinkKeys([NEW, OLD])
    token = before.token(LinkKind.UNSUBSCRIBE, COMMAND)
    assert after.read(token) == LinkToken(LinkKind.UNSUBSCRIBE, COMMAND)
    assert before.read(after.token(LinkKind.UNSUBSCRIBE, COMMAND)) is None
    assert LinkKeys([NEW]).read(token) is None


def test_two_keys_with_the_same_id_are_both_tried() -> None:
    secrets = [f"secret number {number}" for number in range(300)]
    by_id: dict[bytes, list[str]] = {}
    for secret in secrets:
        raw = base64.urlsafe_b64decode(LinkKeys([secret]).token(LinkKind.OPEN, COMMAND) + "==")
        by_id.setdefault(raw[:1], []).append(secret)
    first, second, *_ = next(found for found in by_id.values() if len(found) > 1)
    assert LinkKeys([first, second]).read(LinkKeys([second]).token(LinkKind.OPEN, COMMAND)) is not None


@pytest.mark.parametrize("kind", [LinkKind.OPEN, LinkKind.UNSUBSCRIBE, LinkKind.PREFERENCES, LinkKind.CONFIRM])
def test_the_token_of_one_kind_is_none_of_another(kind: LinkKind) -> None:
    keys = LinkKeys([NEW])
    raw = base64.urlsafe_b64decode(keys.token(kind, COMMAND) + "==")
    for other in set(LinkKind) - {kind}:
        forged = base64.urlsafe_b64encode(raw[:1] + other.value.encode() + raw[2:]).decode().rstrip("=")
        assert keys.read(forged) is None


def test_without_a_key_there_are_no_links() -> None:
    with pytest.raises(ValueError, match="no key"):
        LinkKeys([])


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example",
        "HTTPS://shop.example/a?b=c&d=%20#e",
        "http://user@shop.example:8080/a|b{c}",
        "https://[2001:db8::1]/x",
    ],
)
def test_a_click_leads_to_web_pages(url: str) -> None:
    assert is_target(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "#top",
        "/cart",
        "//shop.example/cart",
        "mailto:ann@example.net",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://shop.example/",
        "https://",
        "https:///cart",
        "https://shop.example/a b",
        "https://shop.example/größe",
        "https://shop.example\\@evil.example/",
        "https://shop.example/\r\nSet-Cookie: a=b",
        "https://shop.example/" + "x" * 2000,
        " https://shop.example/",
    ],
)
def test_and_nowhere_else(url: str) -> None:
    assert not is_target(url)


def test_the_pages_of_a_mail_have_addresses_under_the_public_origin() -> None:
    pages = LinkPages("https://mail.shop.example", LinkKeys([NEW]))
    links = pages.of(COMMAND, opens=True, clicks=True, hidden=True)
    assert links.unsubscribe_url.startswith("https://mail.shop.example/u/")
    assert links.preferences_url.startswith("https://mail.shop.example/p/")
    markup = "".join(links.markup())
    hidden = pages.keys.token(LinkKind.CLICK, COMMAND, HIDDEN_LINK)
    assert f'<a href="https://mail.shop.example/c/{hidden}" style="display:none"' in markup
    assert '<img src="https://mail.shop.example/o/' in markup
    assert links.targets == {}, "the hidden link leads nowhere"
    assert pages.of(COMMAND, opens=False, clicks=False, hidden=True).markup() == []

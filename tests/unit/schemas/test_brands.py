"""Brands on the wire: mailboxes, the names of consents, and which domains are aligned."""

import pytest
from pydantic import ValidationError

from schemas.brands import Brand, DkimName, SenderName, consent_name, purpose_in, sender_name
from schemas.budgets import Budget


@pytest.mark.parametrize(
    ("text", "shown", "address"),
    [
        ("mail@shop.example", "", "mail@shop.example"),
        ("Shop <mail@shop.example>", "Shop", "mail@shop.example"),
        ('"Shop, the first" <mail@shop.example>', "Shop, the first", "mail@shop.example"),
        ("Lädchen <mail@lädchen.example>", "Lädchen", "mail@xn--ldchen-bua.example"),
        ("<mail@shop.example>", "", "mail@shop.example"),
    ],
)
def test_a_mailbox_is_an_address_with_or_without_a_name(text: str, shown: str, address: str) -> None:
    assert sender_name(text) == SenderName(shown=shown, address=address)


@pytest.mark.parametrize(
    "text",
    [
        *("", "Shop", "Shop at shop.example", "a@shop.example, b@shop.example", "Shop <mail@shop.example> more"),
        *("Shop, the first <mail@shop.example>", "Shop\r\nBcc: x@y.example <mail@shop.example>", "<>", "Shop <>"),
        *("a <b <mail@shop.example>>", "mail@shop.example\nBcc: x@y.example", '"Shop <mail@shop.example>'),
    ],
)
def test_anything_else_is_no_mailbox(text: str) -> None:
    with pytest.raises(ValidationError):
        sender_name(text)


def test_the_name_of_a_consent_is_of_one_brand_and_one_purpose() -> None:
    assert consent_name("shop", "news") == "shop/news"
    assert consent_name(None, "news") == "news"
    assert consent_name("shop", "transactional") == "transactional"
    for brand, purpose in (("shop", "news"), (None, "a/b"), ("shop", "transactional")):
        assert purpose_in(brand, consent_name(brand, purpose)) == purpose


@pytest.mark.parametrize(
    ("sender", "signer", "aligned"),
    [
        ("shop.example", "shop.example", True),
        ("mail.shop.example", "shop.example", True),
        ("shop.example", "MAIL.shop.example", True),
        ("shop.example", "outlet.example", False),
        ("myshop.example", "shop.example", False),
    ],
)
def test_a_signing_domain_is_aligned_above_or_below_the_senders(sender: str, signer: str, aligned: bool) -> None:
    dkim = DkimName(domain=signer, selector="s")
    assert Brand(name="b", sender=SenderName(address=f"mail@{sender}"), dkim=dkim).is_aligned is aligned


@pytest.mark.parametrize(
    "window",
    [{}, {"per_ms": 1, "unit": "day", "zone": "UTC"}, {"unit": "day"}, {"per_ms": 1, "zone": "UTC"}, {"per_ms": 0}],
)
def test_a_budget_has_one_window(window: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Budget.model_validate({"name": "trigger/t", "max": 1, **window})

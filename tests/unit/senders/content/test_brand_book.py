"""Brands as delivery knows them: which of them lack their key."""

from datetime import UTC, datetime
from pathlib import Path

from schemas.brands import Brand, DkimName, SenderName
from senders.content.brand_book import BrandBook
from senders.content.dkim import Signer, generate_key
from senders.content.signatures import SigningKey

MAY = datetime(2026, 5, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)


def brand(name: str, selector: str | None) -> Brand:
    dkim = None if selector is None else DkimName(domain="shop.example", selector=selector)
    return Brand(name=name, sender=SenderName(address="mail@shop.example"), dkim=dkim)


def test_a_brand_whose_key_is_not_here_or_not_in_force_yet_is_a_problem(tmp_path: Path) -> None:
    key = generate_key(tmp_path / "dkim.pem")
    keys = [SigningKey("shop.example", "spring", key), SigningKey("shop.example", "summer", key, JUNE)]
    signer = Signer("shop.example", keys)
    book = BrandBook([brand("own", "spring"), brand("none", None), brand("soon", "summer"), brand("never", "autumn")])
    never = "mails of brand never wait: no key for autumn._domainkey.shop.example (EBBTIDE_DKIM_KEYS)"
    soon = "mails of brand soon wait: no key for summer._domainkey.shop.example (EBBTIDE_DKIM_KEYS)"
    assert book.problems(signer, MAY) == [never, soon]
    assert book.problems(signer, JUNE) == [never]

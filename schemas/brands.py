"""Brands: the sender identities that rules name. The manifest carries them to delivery."""

import re
from typing import Annotated

from pydantic import Field

from schemas.types import Address, Fact, Line
from schemas.vocabulary import TRANSACTIONAL

BRAND = r"[A-Za-z][A-Za-z0-9_.-]{0,62}"
"""The name of a brand. It has no `/`, so that `brand/purpose` names one brand and one purpose."""
DOMAIN = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)+"
SELECTOR = r"[A-Za-z0-9._-]{1,63}"
_SHOWN = re.compile(r"(?:\"(?P<quoted>[^\"\\<>]*)\"|(?P<plain>[^\"\\<>,;:@]*?))\s*<(?P<address>[^<>\s]+)>")

BrandName = Annotated[str, Field(pattern=f"^{BRAND}$")]
Domain = Annotated[str, Field(pattern=f"^{DOMAIN}$", max_length=253)]


class SenderName(Fact):
    """A mailbox as mails show it: its display name, which may be empty, and its address."""

    shown: Line = ""
    address: Address

    @property
    def domain(self) -> str:
        """The domain of the address, in lower case."""
        return self.address.rpartition("@")[2].lower()


class DkimName(Fact):
    """The name of a DKIM key: the domain that publishes it, and its selector."""

    domain: Domain
    selector: Annotated[str, Field(pattern=f"^{SELECTOR}$")]

    def __str__(self) -> str:
        return f"{self.selector}._domainkey.{self.domain.lower()}"


class Brand(Fact):
    """One sender identity."""

    name: BrandName
    sender: SenderName
    reply_to: SenderName | None = None
    dkim: DkimName | None = None
    """The key that signs its mails; without it, those of the sender's domain do."""
    list_id: Domain | None = None
    """The domain under which its lists are named, `PURPOSE.LIST_ID` (RFC 2919)."""
    templates: str | None = None
    """The folder whose templates go before those of the same name elsewhere."""

    @property
    def domain(self) -> str:
        """The domain that answers for its mails: the one that signs them."""
        return self.sender.domain if self.dkim is None else self.dkim.domain.lower()

    @property
    def lists(self) -> str:
        """The domain under which its lists are named."""
        return self.list_id or self.domain

    @property
    def is_aligned(self) -> bool:
        """Whether the signing domain is the sender's, or one above or below it: what DMARC asks, relaxed (RFC 7489)."""
        sender, signer = f".{self.sender.domain}", f".{self.domain}"
        return sender.endswith(signer) or signer.endswith(sender)


def sender_name(text: str) -> SenderName:
    """`Name <address>`, or an address alone; raises ValueError."""
    found = _SHOWN.fullmatch(text.strip())
    if found is None:
        return SenderName(address=text.strip())
    return SenderName(shown=(found["quoted"] or found["plain"] or "").strip(), address=found["address"])


def consent_name(brand: str | None, purpose: str) -> str:
    """The consent that mails of a purpose need: of a brand, `brand/purpose`. Transactional ones need none."""
    return purpose if brand is None or purpose == TRANSACTIONAL else f"{brand}/{purpose}"


def purpose_in(brand: str | None, consent: str) -> str:
    """The purpose in the name of a consent: the inverse of `consent_name`."""
    return consent if brand is None else consent.removeprefix(f"{brand}/")

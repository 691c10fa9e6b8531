"""The document `brand`."""

import re

from pydantic import ValidationError

from schemas.brands import BRAND, DOMAIN, SELECTOR, Brand, DkimName, SenderName, sender_name
from schemas.wording import quoted
from triggers.language import values
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import DocumentReader
from triggers.language.yaml_tree import Node

_BRAND, _DOMAIN, _SELECTOR = map(re.compile, (BRAND, DOMAIN, SELECTOR))
_BRACES = re.compile(r"\{\{|\{%")
_NOBODY = SenderName.model_construct(address="nobody@invalid")
_FROM = "from: Shop <mail@shop.example>"


def read_brand(document: DocumentReader, node: Node) -> Brand | None:
    """The document of one brand; None without a name."""
    mapping = document.mapping(node, "brand", "brand")
    name = mapping.required("brand", _name, "")
    brand = Brand.model_construct(
        name=name,
        sender=mapping.required("from", lambda n: _mailbox(n, "from"), _NOBODY, _FROM),
        reply_to=mapping.optional("reply_to", lambda n: _mailbox(n, "reply_to"), None),
        dkim=mapping.optional("dkim", lambda n: _dkim(document, n), None),
        list_id=mapping.optional("list_id", lambda n: _domain(n, "list_id"), None),
        templates=mapping.optional("templates", _folder, None),
    )
    if brand.dkim is not None and "from" in mapping and not brand.is_aligned:
        message = f"{quoted(brand.dkim.domain)} signs mails from {quoted(brand.sender.domain)}"
        hint = "receivers that ask for DMARC want the sender's domain, or one above it"
        document.report.add(mapping.node.items["dkim"].index, "unaligned-domain", message, hint)
    return brand if name else None


def _name(node: Node) -> str:
    name = values.name(node, "a brand's name")
    if not _BRAND.fullmatch(name):
        hint = "a letter, then up to 62 letters, digits, or _ - and the dot: consents are named `brand/purpose`"
        raise Problem(node.index, "invalid-name", f"{quoted(name)} cannot be a brand's name", hint)
    return name


def _mailbox(node: Node, what: str) -> SenderName:
    text = values.text(node, what)
    if _BRACES.search(text):
        message = f"{what}: `{{{{ … }}}}` would be shown as it is written: this is no Liquid"
        raise Problem(node.index, "invalid-mailbox", message, f"write `{what}` in the front matter of the template")
    try:
        return sender_name(text)
    except ValidationError:
        hint = 'as in "Shop <mail@shop.example>"'
        raise Problem(node.index, "invalid-mailbox", f"{what}: {quoted(text)} is not one mailbox", hint) from None


def _dkim(document: DocumentReader, node: Node) -> DkimName | None:
    mapping = document.mapping(node, "dkim", "DKIM", example="{domain: shop.example, selector: autumn}")
    domain = mapping.required("domain", lambda n: _domain(n, "domain"), "")
    selector = mapping.required("selector", _selector, "")
    return DkimName(domain=domain, selector=selector) if domain and selector else None


def _domain(node: Node, what: str) -> str:
    text = values.text(node, what)
    if not _DOMAIN.fullmatch(text) or len(text) > 253:
        hint = "as in shop.example; a name in other letters is written as xn--…"
        raise Problem(node.index, "invalid-value", f"{what}: {quoted(text)} is not a domain", hint)
    return text


def _selector(node: Node) -> str:
    text = values.text(node, "selector")
    if not _SELECTOR.fullmatch(text):
        raise Problem(node.index, "invalid-value", f"selector: {quoted(text)} is not a selector", "as in autumn2026")
    return text


def _folder(node: Node) -> str:
    name = values.name(node, "a folder's name")
    if "/" in name:
        hint = f"the folder that they lie in directly, as in {name.rpartition('/')[2]}"
        raise Problem(node.index, "invalid-value", "templates: one folder's name, not a path", hint)
    return name

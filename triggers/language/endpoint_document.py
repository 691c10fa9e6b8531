"""The document `endpoint`."""

import re
from typing import cast

from schemas.endpoints import (
    HEADER_NAME,
    MAX_HEADER_VALUE,
    MAX_TIMEOUT_MS,
    RATE,
    Endpoint,
    Method,
    is_ours,
    url_problem,
)
from schemas.types import has_control
from schemas.wording import quoted
from triggers.language import values
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import DocumentReader
from triggers.language.reader import MappingReader
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode
from triggers.measures.shapes import duration_text

_URL = "https://crm.example/hooks"


def read_endpoint(document: DocumentReader, node: Node) -> Endpoint:
    """The document of one endpoint. What is wrong is reported, and is empty: then the set does not load."""
    mapping = document.mapping(node, "endpoint", "endpoint")
    name = mapping.required("endpoint", lambda n: values.name(n, "an endpoint's name"), "")
    url = mapping.required("url", lambda n: _url(document, n), "", f"url: {_URL}")
    secrets = mapping.required("secrets", lambda n: _secrets(mapping, n), (), "secrets: crm-signing")
    headers = mapping.optional("headers", lambda n: _headers(document, mapping, n), {})
    timeout_ms = mapping.declared("timeout", _timeout)
    rate = mapping.optional("rate", _rate, None)
    method, retries = mapping.word("method"), mapping.whole("retries")
    return Endpoint.model_construct(
        name=name,
        url=url,
        method=cast(Method, method),
        headers={header: value for header, (value, is_secret) in headers.items() if not is_secret},
        secret_headers={header: value for header, (value, is_secret) in headers.items() if is_secret},
        secrets=secrets,
        timeout_ms=timeout_ms,
        retries=retries,
        rate=rate,
    )


def _url(document: DocumentReader, node: Node) -> str:
    url = values.text(node, "url")
    if (problem := url_problem(url)) is not None:
        raise Problem(node.index, "invalid-value", f"url: {problem}", f"as in {_URL}")
    if url.startswith("http:"):
        message = "anybody on the way can read these requests"
        hint = "write https://; delivery sends plain requests only to hosts that its settings name"
        document.report.add(node.index, "plain-http", message, hint)
    return url


def _secrets(mapping: MappingReader, node: Node) -> tuple[str, ...]:
    found = values.several(mapping.report, node, _secret)
    if len(found) > (most := mapping.declared_key("secrets").most):
        raise Problem(node.index, "invalid-value", f"{len(found)} secrets, more than {most}")
    return found


def _secret(node: Node) -> str:
    return values.name(node, "a secret's name")


def _timeout(node: Node) -> int:
    timeout_ms = values.duration(node, "timeout")
    if timeout_ms > MAX_TIMEOUT_MS:
        raise Problem(node.index, "invalid-duration", f"timeout is longer than {duration_text(MAX_TIMEOUT_MS)}")
    return timeout_ms


def _rate(node: Node) -> str:
    if not isinstance(node, ScalarNode) or not re.fullmatch(RATE, node.text):
        raise values.wrong(node, "rate", "so many in a time", "as in 50/s, 600/min or 1000/h")
    return node.text


def _headers(document: DocumentReader, mapping: MappingReader, node: Node) -> dict[str, tuple[str, bool]]:
    """By header, its value, or its secret's name and true."""
    items = values.mapping_items(node, "headers", "{X-Shop: ours}")
    if len(items) > (most := mapping.declared_key("headers").most):
        raise Problem(node.index, "invalid-value", f"{len(items)} headers, more than {most}")
    found: dict[str, tuple[str, bool]] = {}
    for name, place, value in items:
        known = {header.lower() for header in found}
        header = document.report.attempt(lambda place=place, known=known: _header_name(place, known), "")  # type: ignore[misc]
        read = document.report.attempt(lambda value=value: _header_value(document, value), ("", False))  # type: ignore[misc]
        if header and read[0]:
            found[name] = read
    return found


def _header_name(place: ScalarNode, known: set[str]) -> str:
    if not re.fullmatch(HEADER_NAME, place.text):
        raise Problem(place.index, "invalid-name", f"{quoted(place.text)} cannot be a header")
    if is_ours(place.text):
        raise Problem(place.index, "invalid-value", f"the request has the header {quoted(place.text)} by itself")
    if place.text.lower() in known:
        raise Problem(place.index, "invalid-value", f"the header {quoted(place.text)} is there twice")
    return place.text


def _header_value(document: DocumentReader, node: Node) -> tuple[str, bool]:
    if isinstance(node, MappingNode):
        secret = document.mapping(node, "a header", "SECRET", example="{secret: crm-token}")
        return secret.required("secret", _secret, ""), True
    text = values.text(node, "a header")
    if len(text) > MAX_HEADER_VALUE or has_control(text) or not text.isascii():
        raise Problem(node.index, "invalid-value", f"a header is one line of up to {MAX_HEADER_VALUE:,} in ASCII")
    return text, False

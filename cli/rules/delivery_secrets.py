"""Whether delivery has the keys and secrets that documents name, as far as the settings on this machine say."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cli.environment import Environment
from schemas.errors import UserError
from schemas.wording import quoted
from senders.content.dkim import KeyProblem, key_names
from triggers.language.diagnostics import Diagnostic
from triggers.language.documents import BrandDocument, EndpointDocument

_FOR_KEYS = "list it in the file that EBBTIDE_DKIM_KEYS names; until delivery has it, the brand's mails wait"
_FOR_ENDPOINTS = "put it into EBBTIDE_WEBHOOK_SECRETS; until delivery has it, the endpoint's webhooks wait"


def missing_keys(brands: Iterable[BrandDocument]) -> Iterator[Diagnostic]:
    """A warning for each brand whose key the settings on this machine do not name."""
    named = [each for each in brands if each.brand.dkim is not None]
    if not named:
        return
    try:
        keys = _configured_keys()
    except KeyProblem as problem:
        for each in named:
            yield each.report.at(each.place("dkim"), "missing-signing-key", str(problem), _FOR_KEYS)
        return
    for each in named:
        if str(each.brand.dkim) not in keys:
            key, brand = quoted(str(each.brand.dkim)), quoted(each.brand.name)
            message = f"the settings here have no key {key}, with which mails of {brand} are signed"
            yield each.report.at(each.place("dkim"), "missing-signing-key", message, _FOR_KEYS)


def _configured_keys() -> set[str]:
    """By the settings of delivery (`senders.settings`), whose other values `check` does not need."""
    keys = os.environ.get("EBBTIDE_DKIM_KEYS")
    domain = os.environ.get("EBBTIDE_DKIM_DOMAIN", "ebbtide.example")
    return key_names(domain, os.environ.get("EBBTIDE_DKIM_SELECTOR", "demo"), Path(keys) if keys else None)


def missing_secrets(endpoints: Sequence[EndpointDocument]) -> Iterator[Diagnostic]:
    """A warning for each secret of an endpoint that the settings on this machine do not have."""
    if not endpoints:
        return
    try:
        known = Environment.of().webhook_secrets or set()
    except UserError as problem:
        for each in endpoints:
            yield each.report.at(each.place("secrets"), "missing-secret", str(problem), _FOR_ENDPOINTS)
        return
    for each in endpoints:
        for secret in each.endpoint.secret_names:
            if secret not in known:
                message = f"the settings here have no secret {quoted(secret)}, which {quoted(each.endpoint.name)} needs"
                yield each.report.at(each.secret_place(secret), "missing-secret", message, _FOR_ENDPOINTS)

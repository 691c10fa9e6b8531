"""Whether delivery has the keys that brands name, as far as the settings on this machine say."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.wording import quoted
from senders.content.dkim import KeyProblem, key_names
from triggers.language.diagnostics import Diagnostic
from triggers.language.documents import BrandDocument

_HOW = "list it in the file that EBBTIDE_DKIM_KEYS names; until delivery has it, the brand's mails wait"


def missing_keys(brands: Iterable[BrandDocument]) -> Iterator[Diagnostic]:
    """A warning for each brand whose key the settings on this machine do not name."""
    named = [each for each in brands if each.brand.dkim is not None]
    if not named:
        return
    try:
        keys = _configured()
    except KeyProblem as problem:
        for each in named:
            yield each.report.at(each.place("dkim"), "missing-signing-key", str(problem), _HOW)
        return
    for each in named:
        if str(each.brand.dkim) not in keys:
            key, brand = quoted(str(each.brand.dkim)), quoted(each.brand.name)
            message = f"the settings here have no key {key}, with which mails of {brand} are signed"
            yield each.report.at(each.place("dkim"), "missing-signing-key", message, _HOW)


def _configured() -> set[str]:
    """By the settings of delivery (`senders.settings`), whose other values `check` does not need."""
    keys = os.environ.get("EBBTIDE_DKIM_KEYS")
    domain = os.environ.get("EBBTIDE_DKIM_DOMAIN", "ebbtide.example")
    return key_names(domain, os.environ.get("EBBTIDE_DKIM_SELECTOR", "demo"), Path(keys) if keys else None)

"""The words of the pages and of their mails, by language, from the files in `web/recipients/texts/`.

A value in a text is escaped and stands in bold type. The version of a file is kept with each consent, so that one can
find later what its user read.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

FOLDER = Path(__file__).parent.parent / "texts"
DEFAULT = "en"
_STRONG = Markup('<strong dir="auto">{}</strong>')
_WORDS = re.compile(r"[_.:/-]+")
_MOST_RANGES = 20
"""Of `Accept-Language`, as many are read."""


@dataclass(frozen=True, slots=True)
class Texts:
    """One language. Texts are named `section.key`."""

    code: str
    language: str
    """Its own name of itself."""
    version: str
    """The language and a digest of the file."""
    texts: Mapping[str, str]

    def say(self, name: str, **values: object) -> Markup:
        """The text as HTML."""
        text = Markup(self.texts[name])  # noqa: S704  # a file of ours; values are escaped
        return text.format(**{key: _STRONG.format(value) for key, value in values.items()})

    def plain(self, name: str, **values: str) -> str:
        """The text with its values as they are."""
        return self.texts[name].format(**values)

    def purpose(self, purpose: str) -> str:
        """What a recipient reads for a purpose, without its brand: its text, or else its name in words."""
        name = purpose.rpartition("/")[2]
        return self.texts.get(f"purposes.{name}") or in_words(name)

    def purpose_of_brand(self, purpose: str) -> str:
        """The same with its brand, where it does not stand under it: two brands may have purposes of one name."""
        brand = purpose.rpartition("/")[0]
        return f"{self.purpose(purpose)} ({brand_in_words(brand)})" if brand else self.purpose(purpose)


def brand_in_words(brand: str) -> str:
    """What a recipient reads for a brand: its name in words."""
    return in_words(brand).title()


def in_words(name: str) -> str:
    """A name that people wrote for programs, as words: `back_in_stock` is "Back in stock"."""
    words = _WORDS.sub(" ", name).strip()
    return words[:1].upper() + words[1:]


@cache
def languages() -> Mapping[str, Texts]:
    """Every language by its code."""
    return {file.stem: _read(file) for file in sorted(FOLDER.glob("*.toml"))}


def _read(file: Path) -> Texts:
    raw = file.read_bytes()
    found = tomllib.loads(raw.decode())
    digest = hashlib.blake2b(raw, digest_size=6).hexdigest()
    texts = {
        f"{section}.{key}": text
        for section, keys in found.items()
        if isinstance(keys, dict)
        for key, text in keys.items()
    }
    return Texts(file.stem, found["language"], f"{file.stem}-{digest}", texts)


def texts_for(locale: str | None, accept_language: str = "") -> Texts:
    """The language of the profile's locale if there is one, else the best of `Accept-Language` (RFC 9110, 12.5.4)."""
    known = languages()
    wanted = [locale, *accepted(accept_language)] if locale else accepted(accept_language)
    return next((known[code] for code in map(_primary, wanted) if code in known), known[DEFAULT])


def accepted(header: str) -> list[str]:
    """The language ranges of the header, the most wanted first. A range that cannot be read is not wanted."""
    found = []
    for part in header.split(",")[:_MOST_RANGES]:
        language, _, weight = part.partition(";")
        quality = _quality(weight)
        if quality > 0:
            found.append((-quality, language.strip()))
    return [language for _, language in sorted(found, key=lambda each: each[0])]


def _quality(weight: str) -> float:
    if not weight.strip():
        return 1.0
    match = re.fullmatch(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", weight, re.ASCII | re.IGNORECASE)
    return float(match[1]) if match else 0.0


def _primary(tag: str) -> str:
    return re.split(r"[-_]", tag.strip(), maxsplit=1)[0].lower()

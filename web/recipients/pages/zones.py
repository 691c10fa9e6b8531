"""The time zones and languages that a recipient can choose from, named in the language of the page."""

import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import NamedTuple

from babel import Locale, UnknownLocaleError
from babel.dates import get_timezone_location

from schemas.zones import zone_named
from web.recipients.pages.texts import languages


class Option(NamedTuple):
    """A value of a list, and what the recipient reads."""

    value: str
    label: str


@cache
def zone_options(language: str) -> Sequence[Option]:
    """Every place of IANA's `zone.tab`, with its country first, in the order of the alphabet."""
    locale = Locale.parse(language)
    listed = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in listed.splitlines() if not line.startswith("#")]
    found = [Option(zone, _place(locale, country, zone)) for country, _, zone, *_ in rows if zone_named(zone)]
    return sorted(found, key=lambda option: _plain(option.label))


def zones_with(language: str, zone: str | None) -> Sequence[Option]:
    """The options, and the zone that the recipient has if it is none of them."""
    options = zone_options(language)
    if not zone or any(option.value == zone for option in options):
        return options
    return [Option(zone, zone), *options]


def locales_with(locale: str | None) -> Sequence[Option]:
    """The languages of the pages, each by its own name; the recipient's own locale stands for its language."""
    own = Option(locale, _own_name(locale)) if locale else None
    primary = locale.replace("_", "-").split("-")[0].lower() if locale else ""
    options = [own if own and code == primary else Option(code, each.language) for code, each in languages().items()]
    return options if own is None or own in options else [own, *options]


def _own_name(locale: str) -> str:
    try:
        name = Locale.parse(locale, sep="-" if "-" in locale else "_").display_name or locale
        return name[:1].upper() + name[1:]
    except (ValueError, TypeError, UnknownLocaleError):
        return locale


def _place(locale: Locale, country: str, zone: str) -> str:
    city = get_timezone_location(zone_named(zone), locale=locale, return_city=True)
    return f"{locale.territories.get(country, country)} – {city}"


def _plain(text: str) -> str:
    """The letters without accents, so that Österreich stands beside Oman."""
    return "".join(each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each))

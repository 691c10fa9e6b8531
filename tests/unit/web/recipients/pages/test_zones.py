"""The lists of time zones and languages."""

import pytest

from schemas.zones import zone_named
from web.recipients.pages.texts import languages
from web.recipients.pages.zones import Option, locales_with, zone_options, zones_with


@pytest.mark.parametrize("language", languages())
def test_every_zone_is_one_and_is_named_once(language: str) -> None:
    options = zone_options(language)
    assert len(options) > 400
    assert all(zone_named(option.value) for option in options)
    assert len({option.label for option in options}) == len(options)


def test_zones_are_named_in_the_language_of_the_page() -> None:
    assert Option("Europe/Berlin", "Deutschland – Berlin") in zone_options("de")
    assert Option("America/Mexico_City", "México – Ciudad de México") in zone_options("es")


def test_a_zone_that_is_not_listed_is_kept() -> None:
    assert zones_with("en", "US/Pacific")[0] == ("US/Pacific", "US/Pacific")
    assert zones_with("en", "Europe/Berlin") is zone_options("en")


def test_the_recipients_own_locale_stands_for_its_language() -> None:
    assert [option.value for option in locales_with(None)] == ["de", "en", "es", "fr"]
    assert [option.value for option in locales_with("de-AT")] == ["de-AT", "en", "es", "fr"]
    assert locales_with("de-AT")[0].label == "Deutsch (Österreich)"
    assert [option.value for option in locales_with("it")] == ["it", "de", "en", "es", "fr"]
    assert locales_with("<b>")[0] == ("<b>", "<b>")

"""The words of the pages: every language says everything, values are escaped, and the best language is found."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.recipients.pages.texts import DEFAULT, accepted, in_words, languages, texts_for

_PLACE = re.compile(r"\{(\w+)\}")


@pytest.mark.parametrize("code", languages())
def test_every_language_has_every_text_with_the_same_values(code: str) -> None:
    english, texts = languages()[DEFAULT].texts, languages()[code].texts
    assert texts.keys() == english.keys()
    for name, text in texts.items():
        assert text.strip() == text != "", name
        assert set(_PLACE.findall(text)) == set(_PLACE.findall(english[name])), name


@pytest.mark.parametrize(
    ("locale", "header", "code"),
    [
        ("de", "fr", "de"),
        ("de-AT", "", "de"),
        ("es_MX", "", "es"),
        ("it", "fr;q=0.8, es;q=0.9", "es"),
        (None, "it, de;q=0.7, en;q=0.3", "de"),
        (None, "DE-ch", "de"),
        (None, "de;q=0, fr;q=0.1", "fr"),
        (None, "", "en"),
        (None, "*", "en"),
        ("", "nonsense;;q=x, de;q=banana", "en"),
    ],
)
def test_the_language_is_that_of_the_profile_and_else_the_browsers(locale: str | None, header: str, code: str) -> None:
    assert texts_for(locale, header).code == code


@given(st.one_of(st.none(), st.text(max_size=40)), st.text(max_size=300))
def test_whatever_the_locale_and_the_header_there_is_a_language(locale: str | None, header: str) -> None:
    assert texts_for(locale, header).code in languages()
    assert all(isinstance(language, str) for language in accepted(header))


@given(st.text(max_size=50))
def test_a_value_is_escaped(value: str) -> None:
    for texts in languages().values():
        said = texts.say("settings.for", address=f"<script>{value}")
        assert "<script" not in said
        assert "&lt;script&gt;" in said


def test_a_purpose_without_a_text_is_its_name_in_words() -> None:
    german = languages()["de"]
    assert german.purpose("marketing") == german.purpose("harbour/marketing") == "Angebote und Neuigkeiten"
    assert german.purpose("harbour/back_in_stock") == "Back in stock"
    assert in_words("cd-harbour") == "Cd harbour"


def test_the_version_of_a_text_names_its_language_and_changes_with_its_file() -> None:
    versions = {texts.version for texts in languages().values()}
    assert len(versions) == len(languages())
    assert all(re.fullmatch(r"[a-z]{2}-[0-9a-f]{12}", version) for version in versions)

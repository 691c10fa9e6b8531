"""The settings: what must be set, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from senders.content.mail_builder import Tracking
from senders.settings import SenderSettings, dns_server

SECRET = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SenderSettings.model_fields:
        monkeypatch.delenv(f"EBBTIDE_{name.upper()}", raising=False)


def test_the_suppression_key_has_no_default_and_a_minimum_length() -> None:
    with pytest.raises(ValidationError, match="suppression_key"):
        SenderSettings()
    with pytest.raises(ValidationError, match="16 characters"):
        SenderSettings(suppression_key="short")


def test_real_mail_is_refused_by_default() -> None:
    assert SenderSettings(suppression_key=SECRET).allow_real_mail is False


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBBTIDE_SUPPRESSION_KEY", SECRET)
    monkeypatch.setenv("EBBTIDE_RETRY_FIRST_S", "1.5")
    monkeypatch.setenv("EBBTIDE_IN_DOUBT", '{"digest": "resend"}')
    settings = SenderSettings()
    assert settings.retry_first_s == 1.5
    assert settings.policy("digest") == "resend"
    assert settings.policy("marketing") == "hold"
    assert settings.policy("transactional") == "hold"


def test_by_default_only_transactional_mail_is_sent_again_when_in_doubt() -> None:
    settings = SenderSettings(suppression_key=SECRET)
    assert (settings.policy("transactional"), settings.policy("marketing")) == ("resend", "hold")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mail_from", "nobody"),
        ("mail_from", "Shop <a@b.example>\r\nBcc: x@y.example"),
        ("unsubscribe_url", "http://plain.example/{command_id}"),
        ("public_url", "mail.shop.example"),
        ("public_url", "https://mail.shop.example/"),
        ("link_keys", ("short",)),
        ("retry_first_s", 0),
        ("connections", 0),
        ("smtp_port", 0),
        ("smtp_source", "mail.example"),
        ("dns_servers", ("resolver.example",)),
        ("dns_servers", ("192.0.2.1:0",)),
        ("dns_servers", ("[2001:db8::1]:many",)),
    ],
)
def test_an_invalid_setting_is_refused_and_named(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as refused:
        SenderSettings(suppression_key=SECRET, **{field: value})
    assert [error["loc"][:1] for error in refused.value.errors()] == [(field,)]


def test_links_need_a_key() -> None:
    with pytest.raises(ValidationError, match="public_url needs link_keys"):
        SenderSettings(suppression_key=SECRET, public_url="https://mail.shop.example")
    settings = SenderSettings(suppression_key=SECRET, public_url="https://mail.shop.example", link_keys=(SECRET,))
    assert settings.link_pages is not None
    assert SenderSettings(suppression_key=SECRET).link_pages is None


def test_opens_and_clicks_are_tracked_by_default() -> None:
    assert SenderSettings(suppression_key=SECRET).tracking == Tracking()
    assert SenderSettings(suppression_key=SECRET, track_opens=False).tracking == Tracking(frozenset({"clicks"}))


@pytest.mark.parametrize(("old", "new"), [("never", "off"), ("offered", "opportunistic")])
def test_an_old_word_for_tls_is_refused_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ValidationError, match=f"`{old}` is now `{new}`") as refused:
        SenderSettings(suppression_key=SECRET, smtp_tls=old)
    assert [error["loc"] for error in refused.value.errors()] == [("smtp_tls",)]


LOGIN = {"smtp_user": "shop", "smtp_password": SECRET}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"smtp_user": "shop"}, "one without the other"),
        ({"smtp_password": SECRET}, "one without the other"),
        (LOGIN, "smtp_tls=verified"),
        ({**LOGIN, "smtp_tls": "off"}, "smtp_tls=verified"),
        ({**LOGIN, "smtp_tls": "required"}, "smtp_tls=verified"),
    ],
)
def test_a_password_that_could_go_out_in_clear_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        SenderSettings(suppression_key=SECRET, **fields)


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(SenderSettings(suppression_key=SECRET, **LOGIN, smtp_tls="verified"))


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
        ("[2001:db8::1]:5353", ("2001:db8::1", 5353)),
    ],
)
def test_a_resolver_is_an_address_with_a_port_or_without(text: str, server: tuple[str, int]) -> None:
    assert dns_server(text) == server

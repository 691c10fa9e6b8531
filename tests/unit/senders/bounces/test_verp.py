"""Signed return paths: what they name, and that nobody can invent one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from senders.bounces.verp import ReturnPaths
from senders.policy.recipients import AddressHasher

KEY, OLD, OTHER = (SecretStr(name * 16) for name in ("k", "o", "x"))
COMMAND = "00112233445566778899aabbccddeeff"


def paths(*keys: SecretStr, domain: str = "bounces.example") -> ReturnPaths:
    found = ReturnPaths.of(domain, keys)
    assert found is not None
    return found


@given(st.binary(min_size=16, max_size=16).map(bytes.hex))
def test_a_return_path_names_its_command_in_any_case_and_in_brackets(command: str) -> None:
    address = paths(KEY).address(command)
    assert address is not None
    assert len(address.partition("@")[0]) <= 64
    for form in (address, address.upper(), f"<{address}>", f" {address}."):
        assert paths(KEY).command_id(form) == command


def test_the_keys_are_not_shown() -> None:
    assert "kkkk" not in repr(paths(KEY))
    assert "kkkk" not in repr(AddressHasher(b"k" * 16))


def test_an_old_key_verifies_until_it_is_taken_out() -> None:
    address = paths(OLD).address(COMMAND) or ""
    assert paths(KEY, OLD).command_id(address) == COMMAND
    assert paths(KEY, OLD).address(COMMAND) == paths(KEY).address(COMMAND) != address
    assert paths(KEY).command_id(address) is None


@given(st.data())
def test_a_changed_return_path_names_nothing(data: st.DataObject) -> None:
    address = paths(KEY).address(COMMAND) or ""
    position = data.draw(st.integers(0, len(address) - 1))
    char = data.draw(
        st.sampled_from("abcdefghijklmnopqrstuvwxyz234567-@.").filter(lambda each: each != address[position])
    )
    assert paths(KEY).command_id(address[:position] + char + address[position + 1 :]) is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@",
        "b-@bounces.example",
        "ann@bounces.example",
        "b-" + "a" * 42 + "@bounces.example",
        "b-" + "é" * 42 + "@bounces.example",
    ],
)
def test_an_unsigned_address_names_nothing(address: str) -> None:
    assert paths(KEY).command_id(address) is None


@given(st.text(max_size=80))
def test_any_text_is_answered(address: str) -> None:
    assert paths(KEY).command_id(address) is None


def test_another_domain_or_key_verifies_nothing() -> None:
    address = paths(KEY).address(COMMAND) or ""
    assert paths(OTHER).command_id(address) is None
    assert paths(KEY, domain="other.example").command_id(address) is None


def test_a_command_of_another_form_has_no_signed_return_path() -> None:
    assert paths(KEY).address("sample") is None
    assert paths(KEY).address(COMMAND.upper()) is None
    assert ReturnPaths.of(None, [KEY]) is None
    assert ReturnPaths.of("bounces.example", []) is None

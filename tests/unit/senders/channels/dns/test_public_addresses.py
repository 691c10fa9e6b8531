"""Which addresses are on the internet, and which are our own."""

import pytest

from senders.channels.dns.public_addresses import is_own, is_public


@pytest.mark.parametrize("address", ["198.41.0.4", "2001:500:ba3e::53", "64:ff9b::c629:4", "::ffff:198.41.0.4"])
def test_an_address_on_the_internet_is_public(address: str) -> None:
    assert is_public(address)


LOCAL = ["127.0.0.1", "10.0.0.1", "::1", "fe80::1", "64:ff9b::7f00:1", "::ffff:127.0.0.1"]
LOCAL += ["64:ff9b:1::a9fe:a9fe", "fec0::1", "::a00:1"]


@pytest.mark.parametrize("address", LOCAL)
def test_any_other_is_not(address: str) -> None:
    assert not is_public(address)


def test_an_address_of_this_machine_is_told_by_binding_to_it() -> None:
    assert is_own("127.0.0.1")
    assert not is_own("198.41.0.4")

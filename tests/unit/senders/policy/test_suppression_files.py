"""Lists of suppressions as CSV: what is read, and what is refused."""

from datetime import UTC, datetime

import pytest

from senders.policy.recipients import AddressHasher
from senders.policy.suppression_files import InvalidList, ListedAddress, read_list

NOW = datetime(2026, 11, 29, tzinfo=UTC)
HASHER = AddressHasher(b"k" * 16)


def plain(address: str) -> str:
    if "@" not in address:
        raise ValueError("not a plain mail address")
    return address


def read(text: str) -> list[ListedAddress]:
    return read_list(text.splitlines(), HASHER, plain, NOW)


def test_an_address_is_enough() -> None:
    [found] = read("address\nann@shop.example\n")
    assert found == ListedAddress(HASHER("ann@shop.example"), "*", "import", NOW, "import", None, None)


def test_a_hash_and_all_columns_are_kept() -> None:
    key = HASHER("ann@shop.example").hex()
    [found] = read(
        "Address_Hash,scope,reason,since,source,expires_at,command_id\n"
        f"{key},news,complained,2026-01-02T03:04:05Z,old system,2027-01-01,c1\n"
    )
    assert found.address_hash.hex() == key
    assert (found.scope, found.reason, found.source, found.command_id) == ("news", "complained", "old system", "c1")
    assert found.since == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert found.expires_at == datetime(2027, 1, 1, tzinfo=UTC)


def test_every_wrong_line_is_named_and_no_address() -> None:
    with pytest.raises(InvalidList) as problem:
        read("address,address_hash,since\nann,,\n,abc,\n,,\nann@shop.example,,soon\nann@shop.example,,,x\n")
    lines = str(problem.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["line 2", "line 3", "line 4", "line 5", "line 6"]
    assert "ann" not in str(problem.value)


@pytest.mark.parametrize("text", ["", "mail\nann@shop.example\n", "address,colour\nann@shop.example,red\n"])
def test_a_header_without_addresses_or_with_other_columns_is_refused(text: str) -> None:
    with pytest.raises(InvalidList, match="line 1"):
        read(text)


def test_a_moment_in_the_future_counts_from_now() -> None:
    assert read("address,since\nann@shop.example,2030-01-01\n")[0].since == NOW

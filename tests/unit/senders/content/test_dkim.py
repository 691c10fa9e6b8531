"""The signing key: how it is made, kept and published."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from senders.content.dkim import KeyProblem, dns_record, generate_key, load_key


def test_only_the_owner_can_read_a_new_key_and_it_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "dkim.pem"
    key = generate_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_key(path).private_numbers() == key.private_numbers()
    assert key.key_size == 2048


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "dkim.pem"
    generate_key(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        generate_key(path)
    assert path.read_bytes() == before


def test_the_dns_record_holds_the_public_key_and_nothing_of_the_private_one(tmp_path: Path) -> None:
    key = generate_key(tmp_path / "dkim.pem")
    record = dns_record(key)
    assert record.startswith("v=DKIM1; k=rsa; p=MII")
    assert len(record) < 450


def test_a_missing_key_names_the_file_and_the_setting(tmp_path: Path) -> None:
    with pytest.raises(KeyProblem, match=r"dkim\.pem.*EBBTIDE_DKIM_KEY"):
        load_key(tmp_path / "dkim.pem")


def test_a_file_that_is_not_an_rsa_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pem"
    path.write_text("not a key")
    with pytest.raises(KeyProblem, match="PEM"):
        load_key(path)
    key = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyProblem, match="RSA"):
        load_key(path)

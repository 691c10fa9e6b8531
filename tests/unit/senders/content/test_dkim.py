"""The signing key: how it is made, kept and published."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from senders.content.dkim import KeyProblem, dns_record, generate_key, load_key, load_signer


def test_only_the_owner_can_read_a_new_key_and_it_loads_again(tmp_path: Path) -> None:
    path = tmp_path / "dkim.pem"
    key = generate_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert dns_record(load_key(path)) == dns_record(key)
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


def test_a_file_without_a_key_that_dkim_knows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pem"
    path.write_text("not a key")
    with pytest.raises(KeyProblem, match="PEM"):
        load_key(path)
    for key in (ed448.Ed448PrivateKey.generate(), dsa.generate_private_key(2048)):
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        with pytest.raises(KeyProblem, match="RSA"):
            load_key(path)


def ed25519_key(path: Path) -> ed25519.Ed25519PrivateKey:
    key = ed25519.Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key


def entry(domain: str, selector: str, file: str, since: str = "") -> str:
    begin = f"from = {since}\n" if since else ""
    return f'[[keys]]\ndomain = "{domain}"\nselector = "{selector}"\nfile = "{file}"\n{begin}'


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    generate_key(tmp_path / "rsa.pem")
    ed25519_key(tmp_path / "ed.pem")
    path = tmp_path / "keys.toml"
    path.write_text(
        entry("shop.example", "autumn", "rsa.pem")
        + entry("shop.example", "autumn-ed", "ed.pem")
        + entry("shop.example", "winter", "rsa.pem", "2026-12-01")
        + entry("news.shop.example", "news", "rsa.pem", "2026-12-24T12:00:00+01:00")
        + entry("other.example", "other", "rsa.pem")
    )
    return path


@pytest.mark.parametrize(
    ("from_domain", "at", "selectors"),
    [
        ("shop.example", "2026-11-30T23:59:59+00:00", ["autumn", "autumn-ed"]),
        ("shop.example", "2026-12-01T00:00:00+00:00", ["winter", "autumn-ed"]),
        ("SHOP.example", "2027-01-01T00:00:00+00:00", ["winter", "autumn-ed"]),
        ("news.shop.example", "2026-12-24T10:59:59+00:00", ["winter", "autumn-ed"]),
        ("news.shop.example", "2026-12-24T11:00:00+00:00", ["news"]),
        ("other.example", "2026-12-24T11:00:00+00:00", ["other"]),
        ("elsewhere.example", "2026-12-24T11:00:00+00:00", ["winter", "autumn-ed"]),
    ],
)
def test_the_latest_keys_of_the_nearest_domain_sign(
    keys_file: Path, from_domain: str, at: str, selectors: list[str]
) -> None:
    signer = load_signer("shop.example", "unused", keys_file, keys_file)
    assert [key.selector for key in signer.keys_of(from_domain, datetime.fromisoformat(at))] == selectors


def test_one_key_signs_for_every_domain_where_there_is_no_file_of_keys(tmp_path: Path) -> None:
    generate_key(tmp_path / "dkim.pem")
    signer = load_signer("shop.example", "s1", tmp_path / "dkim.pem")
    found = signer.keys_of("elsewhere.example", datetime(2026, 1, 1, tzinfo=UTC))
    assert [(key.domain, key.selector) for key in found] == [("shop.example", "s1")]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "lists no key"),
        ("keys = 3", "keys: not a list; docs/delivery.md shows"),
        ("[[keys]\n", "not a readable TOML file"),
        ("[[keys]]\ndomain = 'shop.example'\nselector = 's1'\n", "keys.0.file: missing"),
        (entry("shop.example", "s1", "rsa.pem") + "frm = 2026-12-01\n", "frm: unknown here"),
        (entry("shop.example", "s 1", "rsa.pem"), "selector: not of the form"),
        (entry("shop.example", "s1", "none.pem"), r"none\.pem: no DKIM key"),
        (entry("shop.example", "s1", "ed.pem"), "shop.example has no RSA key"),
        (entry("other.example", "s1", "rsa.pem"), "shop.example has no RSA key"),
        (entry("shop.example", "s1", "rsa.pem", "2099-01-01"), "shop.example has no RSA key without `from`"),
    ],
)
def test_a_wrong_file_of_keys_is_refused_with_the_reason(keys_file: Path, text: str, problem: str) -> None:
    keys_file.write_text(text)
    with pytest.raises(KeyProblem, match=problem):
        load_signer("shop.example", "s1", keys_file, keys_file)


def test_the_dns_record_of_an_ed25519_key_is_its_32_bytes(tmp_path: Path) -> None:
    record = dns_record(ed25519_key(tmp_path / "ed.pem"))
    assert record.startswith("v=DKIM1; k=ed25519; p=")
    assert len(base64.b64decode(record.partition("p=")[2])) == 32

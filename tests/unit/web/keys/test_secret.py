"""The secrets of write keys."""

from web.keys.secret import LONGEST, RANDOM_BYTES, hash_of, secret_of
from web.keys.write_key import KeyClass, WriteKey


def test_a_secret_shows_its_class_and_all_of_its_random_bits() -> None:
    zeros, ones = (secret_of(KeyClass.SERVER, bytes([each]) * RANDOM_BYTES) for each in (0, 255))

    assert zeros == "ebserver_" + "a" * 32
    assert ones == "ebserver_" + "7" * 32
    assert secret_of(KeyClass.BROWSER, bytes(RANDOM_BYTES)).startswith("ebbrowser_")
    assert len(secret_of(KeyClass.BROWSER, bytes(RANDOM_BYTES))) < LONGEST


def test_text_that_utf_8_cannot_hold_has_a_hash_too() -> None:
    assert hash_of("\ud800") != hash_of("?")


def test_a_browser_key_serves_the_pages_of_its_origins_only() -> None:
    key = WriteKey("a", KeyClass.BROWSER, "web", ("https://shop.example",))

    assert key.serves("https://shop.example")
    assert not any(map(key.serves, ("https://shop.example.evil", "http://shop.example", "null", "", None)))


def test_a_server_key_serves_every_caller() -> None:
    assert all(map(WriteKey("a", KeyClass.SERVER, "backend").serves, ("https://shop.example", None)))

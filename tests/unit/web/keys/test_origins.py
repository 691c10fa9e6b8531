"""Origins as people write them, and as browsers do."""

import pytest

from web.keys.origins import origin_of


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://shop.example", "https://shop.example"),
        (" HTTPS://Shop.Example/ ", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
    ],
)
def test_an_origin_is_kept_as_browsers_write_it(written: str, origin: str) -> None:
    assert origin_of(written) == origin


@pytest.mark.parametrize(
    "written",
    [
        *("", "*", "null", "shop.example", "//shop.example", "ftp://shop.example", "https://", "https://*.example"),
        *("https://shop.example/cart", "https://a@shop.example", "https://shop.example?a", "https://shop.example#a"),
        *(
            "https://shop.example:none",
            "https://shop.example:99999",
            "https://a b.example",
            "https://[::1",
            "https://...",
        ),
        *("https://" + "a" * 70 + ".example", "https://shop.example\n.evil"),
    ],
)
def test_what_is_no_origin_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match=r"as https://shop\.example$"):
        origin_of(written)

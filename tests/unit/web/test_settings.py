"""The settings of the HTTP edges that only count together."""

import pytest
from pydantic import ValidationError

from web.settings import WebSettings


def test_an_edge_with_pages_needs_the_keys_of_their_links():
    with pytest.raises(ValidationError, match="public_url needs link_keys"):
        WebSettings(public_url="https://mail.shop.example")
    assert WebSettings(public_url="https://mail.shop.example", link_keys=("a key of the tests alone",)).link_keys

"""Event types from the names that people write."""

import pytest

from schemas.plain import plain_event
from web.ingest.names import event_name
from web.ingest.reading import Refused


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("Order Completed", "order_completed"),
        ("order_completed", "order_completed"),
        ("cart.updated", "cart.updated"),
        ("com.example/cart-updated:v2", "com.example/cart-updated:v2"),
        ("productAdded", "product_added"),
        ("iOS App Opened", "ios_app_opened"),
        ("iPhone Order", "iphone_order"),
        ("HTTPRequest Sent", "http_request_sent"),
        ("URLs Opened", "urls_opened"),
        ("orderID", "order_id"),
        ("Checkout - Step 2", "checkout_step_2"),
        ("  Signed Up!  ", "signed_up"),
        ("[Amplitude] Page Viewed", "amplitude_page_viewed"),
        ("$pageview", "pageview"),
        ("🎉 Signed Up", "signed_up"),
        ("Commande Passée", "commande_passee"),
        ("Größe gewählt", "grosse_gewahlt"),
        ("A" * 128, "a" * 128),
        ("a", "a"),
    ],
)
def test_a_name_becomes_a_type_in_snake_case(name: str, event_type: str) -> None:
    assert event_name(name, "event").type == event_type
    assert event_name(event_type, "event") == (event_type, b"")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        (" \t", "is empty"),
        ("日本語", "has letters or digits other than a to z and 0 to 9"),
        ("注文 completed", "has letters or digits other than a to z and 0 to 9"),
        ("order ٣", "has letters or digits other than a to z and 0 to 9"),
        ("123 start", "must begin with a letter and give a type of at most 128 characters"),
        ("---", "must begin with a letter and give a type of at most 128 characters"),
        ("a" * 129, "must begin with a letter and give a type of at most 128 characters"),
        ("a " * 200, "has more than 256 characters"),
        ("a\0b", "contains U+0000"),
    ],
)
def test_a_name_without_a_type_is_refused_with_its_reason(name: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        event_name(name, "event")
    assert (refused.value.field, refused.value.reason) == ("event", reason)


def test_more_names_than_are_remembered_have_the_same_types() -> None:
    for number in range(10_000):
        assert event_name(f"Order {number}", "event").type == f"order_{number}"
    record = b'{"id":"i","type":"%s","user_id":"u","time":"2026-11-24T10:00:00Z"}'
    assert plain_event(record % event_name("Order 1", "event").type.encode()) is not None

"""Events of a visitor as events of the user."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import DecodeError, decode
from schemas.events import Event
from web.profiles.forwarding import forwarded, require_event

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(TEXT, JSON, max_size=3)


def event(**fields: Any) -> bytes:
    whole = {"id": "s#1", "type": "cart_updated", "user_id": "a1", "time": "2026-11-29T10:00:00Z", **fields}
    return orjson.dumps(whole)


@given(MAPS, st.none() | MAPS, st.sampled_from([None, "a1", "a0"]))
def test_only_the_user_the_anonymous_id_and_the_context_change(
    properties: dict[str, Any], context: dict[str, Any] | None, anonymous_id: str | None
) -> None:
    raw = event(properties=properties, context=context, anonymous_id=anonymous_id)
    user_id, visitor, new = forwarded("a1", "u1", require_event("a1", raw))
    assert (user_id, visitor) == ("u1", "a1")
    before, after = orjson.loads(raw), orjson.loads(new)
    assert after.pop("context") == {**(before.pop("context") or {}), "forwarded_from": "a1"}
    assert (after.pop("user_id"), after.pop("anonymous_id")) == ("u1", anonymous_id or "a1")
    del before["user_id"], before["anonymous_id"]
    assert orjson.dumps(after) == orjson.dumps(before)


def test_a_forwarded_event_is_one_that_readers_accept() -> None:
    new = decode(Event, forwarded("a1", "u1", event(properties={"n": 1.0})).event)
    assert (new.id, new.user_id, new.anonymous_id, new.properties) == ("s#1", "u1", "a1", {"n": 1.0})


@pytest.mark.parametrize("raw", [None, b"", b"[]", b"{", event(user_id="a2"), event(context=5)])
def test_what_is_no_event_of_the_visitor_is_refused(raw: bytes | None) -> None:
    with pytest.raises(DecodeError):
        require_event("a1", raw)

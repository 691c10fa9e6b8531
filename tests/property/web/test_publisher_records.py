"""What the publisher takes, every reader can read; what it refuses, it refuses before it is taken."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from schemas.codec import decode
from schemas.events import Event
from web.publisher import InvalidEvent, event_record

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)
TEXTS = st.one_of(st.text(max_size=8), st.sampled_from(["u1", "é", "a\nb", "\x00", "\ud800", "x" * 256, "x" * 257]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS, st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=5,
)
EVENTS = st.fixed_dictionaries(
    {
        "id": TEXTS,
        "type": st.one_of(st.just("page_viewed"), TEXTS),
        "user_id": st.one_of(st.none(), TEXTS),
        "anonymous_id": st.one_of(st.none(), TEXTS),
        "time": st.datetimes(timezones=st.just(UTC)),
        "properties": st.dictionaries(TEXTS, VALUES, max_size=3),
        "context": st.dictionaries(TEXTS, VALUES, max_size=2),
        "source": TEXTS,
    }
)


def unchecked(fields: dict[str, Any]) -> Event:
    """An event that its model never saw."""
    return Event.model_construct(**fields)


@given(EVENTS)
def test_what_is_taken_is_an_event_at_home_under_its_user(fields: dict[str, Any]) -> None:
    with suppress(InvalidEvent):
        key, value, headers = event_record(unchecked(fields))
        written = decode(Event, value)
        assert written.user_id == (fields["anonymous_id"] if fields["user_id"] is None else fields["user_id"])
        assert key == (None if written.user_id is None else written.user_id.encode())
        assert bool(headers) == (fields["user_id"] is None and fields["anonymous_id"] is not None)
        assert (written.id, written.type, written.time) == (fields["id"], fields["type"], fields["time"])


@given(st.lists(st.integers(0, 120), max_size=1).map(lambda depth: sum(depth)))
@example(98)
@example(99)
@example(255)
@example(2000)
def test_an_event_is_nested_as_deep_as_readers_take_or_is_refused(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    event = Event.model_construct(
        id="e1", type="t", user_id="u1", time=NOON, properties={"v": value}, context={}, source=""
    )
    try:
        record = event_record(event)
    except InvalidEvent:
        assert depth > 98
    else:
        assert decode(Event, record.value).properties == {"v": value}

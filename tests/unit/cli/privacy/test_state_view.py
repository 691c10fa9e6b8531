"""A state is shown with its scores as they are now."""

from datetime import UTC, datetime, timedelta

import orjson
from drivers.user_states import state_with

from cli.privacy.export import plain
from cli.privacy.state_view import state_view
from triggers.measures.decay import Exponential, ScoreState
from triggers.rules import encoding
from triggers.rules.events import StoredEvent
from triggers.rules.rule import Score
from triggers.rules.state import Membership, Occurrence, Reservation, StoredConsent, User

BEGAN = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
AT = int(BEGAN.timestamp() * 1000)
HOUR = 3_600_000


def test_everything_of_a_state_is_shown() -> None:
    event = StoredEvent("e1", "cart_left", AT, "shop", {"total": 9})
    occurrence = Occurrence("cart", "hash", '["e1"]', None, None, "e1", event, AT, "b", 1, AT + HOUR, AT + HOUR)
    state = state_with(
        User("u1", "Europe/Berlin", "de", {"plan": "gold"}),
        profiled=True,
        consent={"marketing": StoredConsent(True, AT)},
        scores={"interest": ScoreState(8.0, AT, "e1"), "gone": ScoreState(3.0, AT, "e1")},
        segments={"loyal": Membership(True), "new": Membership(False, AT)},
        reservations=[Reservation("c1", AT, "send", "cart", None, "marketing", "email", '["e1"]', "send")],
    )
    state.running = [occurrence]
    raw, _ = encoding.encode(state)
    scores = {"interest": Score("interest", Exponential(HOUR), ())}

    shown = state_view("u1", raw, scores, BEGAN + timedelta(hours=1))

    assert shown["profile"]["attributes"] == {"plan": "gold"}
    assert shown["consent"] == {"marketing": {"granted": True, "at": BEGAN}}
    assert shown["scores"]["interest"] == {"value": 4.0, "last_addition": BEGAN, "declared": True}
    assert shown["scores"]["gone"] == {"value": 3.0, "last_addition": BEGAN, "declared": False}
    assert shown["segments"] == ["loyal"]
    assert shown["running"][0]["event"]["properties"] == {"total": 9}
    assert shown["sends"][0]["command_id"] == "c1"
    assert orjson.dumps(plain(shown)), "and it is JSON"

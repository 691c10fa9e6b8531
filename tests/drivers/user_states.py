"""User states in tests: made from attributes, and compared by everything that they hold."""

from typing import Any

from msgspec import structs

from triggers.rules.encoding import new_state
from triggers.rules.state import User, UserState, window_of

ATTRIBUTES = (
    *("user", "profiled", "plan_version", "seen", "scores", "levels", "consent", "suppressed", "address_digest"),
    *("address_since", "entries", "unless_events", "reservations", "sent", "goals", "segment_version", "segments"),
    *("plans", "links"),
)


def state_with(user: User, **attributes: Any) -> UserState:
    """A state with these attributes; all others are empty."""
    state = new_state(user)
    for name, value in attributes.items():
        getattr(state, name)
        if name == "sent":
            state.sent.update(value)
        else:
            setattr(state, name, value)
    return state


def contents(state: UserState) -> dict[str, Any]:
    """Everything that a state holds, decoded."""
    found = {name: getattr(state, name) for name in ATTRIBUTES}
    found["windows"] = {key: window_of(state.windows, key) for key in state.windows}
    found["running"] = [structs.astuple(each) for each in state.running if each.event is not None]
    return found

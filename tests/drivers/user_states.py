"""User states in tests: made from attributes, and compared by everything that they hold."""

from typing import Any

from msgspec import structs

from triggers.rules.encoding import encode, new_state
from triggers.rules.events import StoredEvent
from triggers.rules.state import Occurrence, User, UserState, window_of

ATTRIBUTES = (
    *("user", "profiled", "plan_version", "seen", "scores", "levels", "consent", "suppressed", "address_digest"),
    *("address_since", "entries", "unless_events", "reservations", "sent", "goals", "segment_version", "segments"),
    *("plans", "links", "paused_until"),
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
    found["running"] = [structs.astuple(each) for each in state.running if (each.event, each.remembered())]
    return found


def state_record(user: str, *triggers: str) -> tuple[bytes, bytes]:
    """A record of the changelog of states: the user's, with a running occurrence of each of these triggers."""
    event = StoredEvent("e1", "ping", 0, "", {})
    state = state_with(User(user))
    state.running = [
        Occurrence(name, "hash", f"{number}", None, None, "e1", event, 0, None, 0, 10, 10)
        for number, name in enumerate(triggers)
    ]
    return user.encode(), encode(state)[0]

"""One user's state during a backtest, in the form that was needed last: bytes for the fast path, else decoded."""

from triggers.rules.encoding import decode, due_of, encode
from triggers.rules.state import UserState


class KeptState:
    """Encodes and decodes the state only when the other form is needed."""

    __slots__ = ("_due", "_raw", "_state", "_user_id")

    def __init__(self, user_id: str, raw: bytes) -> None:
        self._user_id = user_id
        self._raw: bytes | None = raw
        self._state: UserState | None = None
        """At least one of the two is there; if both are, they are equal."""
        self._due = due_of(raw)

    def encoded(self) -> bytes:
        """The state as bytes."""
        if self._raw is None:
            assert self._state is not None
            self._raw, self._due = encode(self._state)
        return self._raw

    def replace(self, raw: bytes) -> None:
        """Takes bytes of a state whose next timer is the same."""
        self._raw, self._state = raw, None

    def to_change(self) -> UserState:
        """The state for the caller to change."""
        if self._state is None:
            self._state = decode(self._user_id, self._raw)
        self._raw = None
        return self._state

    def to_read(self) -> UserState:
        """The state for a caller who does not change it."""
        if self._state is None:
            self._state = decode(self._user_id, self._raw)
        return self._state

    def next_due(self) -> int | None:
        """When the next timer is due, in milliseconds; None if no timer is set."""
        if self._raw is not None:
            return self._due
        assert self._state is not None
        return self._state.next_due()

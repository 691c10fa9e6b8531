"""Encodes a user's state as compact bytes, with the number of the format.

The bytes are a MessagePack array that begins with the format and with the instant at which the next timer is due, so
that a recovery indexes a million states without decoding them. What most events change comes next: `HotState` decodes
only that, and copies the rest.
"""

from msgspec import Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from triggers.measures.decay import ScoreState
from triggers.rules.seen import SeenIds
from triggers.rules.state import LazyWindow, LevelState, Occurrence, User, UserState, encode_sends

FORMAT = 5
_ARRAY = 0x98
"""The head of a MessagePack array of eight values."""
_NIL, _UINT64 = 0xC0, 0xCF
_INTEGER_BYTES = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9, 0xD0: 2, 0xD1: 3, 0xD2: 5, 0xD3: 9}
"""The bytes of an integer by its head; of others one."""


class _State(Struct, array_like=True, gc=False):
    """What comes before the rest."""

    format: int
    due: int | None
    plan_version: str
    seen: SeenIds
    scores: dict[str, ScoreState]
    levels: dict[str, LevelState]
    windows: dict[str, LazyWindow]


class HotState(_State):
    """A state of which only what most events change is decoded."""

    rest: Raw


class _WholeState(_State):
    rest: UserState


class _RunningOfRest(Struct, array_like=True, gc=False):
    encoded_profile: Raw
    consent: Raw
    suppressed: Raw
    address_digest: Raw
    address_since: Raw
    running: list[Occurrence]


class _RunningOfState(Struct, array_like=True, gc=False):
    format: Raw
    due: Raw
    plan_version: Raw
    seen: Raw
    scores: Raw
    levels: Raw
    windows: Raw
    rest: _RunningOfRest


_pack = Encoder().encode
"""What it returns takes up to half as much memory again as its length. `b"%b" % …` copies it, so that a million states
at rest do not."""
_unpack = Decoder(_WholeState).decode
_unpack_rest = Decoder(UserState).decode
_unpack_due = Decoder(int).decode
_unpack_running = Decoder(_RunningOfState).decode
decode_hot = Decoder(HotState).decode
"""The hot part of an encoded state of this format."""


class UnknownFormat(ValueError):
    """The state was written by another version of Ebbtide, in a format that this one does not read."""

    def __init__(self, found: int) -> None:
        super().__init__(
            f"a user's state has format {found}, and this version of Ebbtide reads format {FORMAT}: "
            "run the version that wrote it, or rebuild the state from the log"
        )


def require_format(raw: bytes) -> None:
    """Raises UnknownFormat if the state is of another format. Earlier formats begin with their number."""
    if raw[0] != _ARRAY or raw[1] != FORMAT:
        raise UnknownFormat(raw[1] if raw[0] == _ARRAY else raw[0])


def due_of(raw: bytes) -> int | None:
    """When the next timer of an encoded state is due, in milliseconds; None if no timer is set. Does not decode it.

    For a recovery, which has only the bytes. Everybody else has the instant from `encode`.
    """
    require_format(raw)
    if raw[2] == _NIL:
        return None
    if raw[2] == _UINT64:
        return int.from_bytes(raw[3:11], "big")
    return _unpack_due(raw[2 : _end_of_due(raw)])


def running_of(raw: bytes) -> list[Occurrence]:
    """The running occurrences of an encoded state, of which nothing else is decoded."""
    require_format(raw)
    return _unpack_running(raw).rest.running


def without_due(raw: bytes) -> bytes:
    """The same state with no timer due until it is encoded again; a state of another format as it is. Does not decode
    it."""
    try:
        require_format(raw)
    except UnknownFormat:
        return raw
    return raw[:2] + bytes([_NIL]) + raw[_end_of_due(raw) :]


def _end_of_due(raw: bytes) -> int:
    return 2 + _INTEGER_BYTES.get(raw[2], 1)


def encode(state: UserState) -> tuple[bytes, int | None]:
    """The state as bytes, and when its next timer is due, in milliseconds. `decode` returns an equal state."""
    user = state.user
    state.encoded_profile = (user.zone, user.locale, user.attributes) if state.profiled else None
    if state.sends is not None and state.sends.changed:
        state.encoded_sends = encode_sends(state.sends)
    due = state.next_due()
    hot = (FORMAT, due, state.plan_version, state.seen, state.scores, state.levels, state.windows, state)
    return b"%b" % _pack(hot), due


def encode_hot(hot: HotState) -> bytes:
    """The bytes of a state whose hot part was decoded and changed."""
    return b"%b" % _pack(hot)


def decode(user_id: str, raw: bytes | None) -> UserState:
    """The state that `encode` encoded, an empty state for None; raises UnknownFormat."""
    if raw is None:
        return new_state(User(user_id))
    require_format(raw)
    whole = _unpack(raw)
    return _completed(user_id, whole.rest, whole)


def decode_rest(user_id: str, hot: HotState) -> UserState:
    """The whole state of which the hot part was decoded. It shares the hot part."""
    return _completed(user_id, _unpack_rest(hot.rest), hot)


def _completed(user_id: str, state: UserState, hot: _State) -> UserState:
    """The state with the attributes that are encoded before the rest."""
    profile = state.encoded_profile
    state.user = User(user_id, *profile) if profile else User(user_id)
    state.profiled = profile is not None
    state.plan_version, state.seen = hot.plan_version, hot.seen
    state.scores, state.levels, state.windows = hot.scores, hot.levels, hot.windows
    return state


def new_state(user: User) -> UserState:
    """The state of a user of whom nothing is known but `user`."""
    state = UserState()
    state.user, state.profiled = user, False
    state.plan_version, state.seen = "", SeenIds()
    state.scores, state.levels, state.windows = {}, {}, {}
    return state

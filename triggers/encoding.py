"""A user's state as bytes: compact, versioned, and readable by every later program.

Version 3 is one byte with the version, eight with the instant at which the next timer is due (so that a million of
states are indexed without being decoded), and a JSON array of sections by position. Empty sections at its end are left
out, empty ones before it are 0. Version 2 had fewer sections and kept counts in windows with the scores. Version 1 was
JSON throughout, and begins with `[`.
"""

import struct
from itertools import accumulate
from operator import sub
from typing import Any

import orjson

from triggers.decay import ScoreState
from triggers.state import (
    Consent,
    Ending,
    Level,
    Membership,
    Occurrence,
    OpenGoal,
    Reservation,
    StoredEvent,
    User,
    UserState,
)
from triggers.windows import Cell, WindowState

VERSION = 3
_VERSION_2 = 2
_HEAD = struct.Struct(">Bq")
_NOTHING_DUE = -(2**63)
_FIRST_VERSION = ord("[")
_SECTIONS = 15
_SCORES = 5
_COUNT = 5
"""How many parts a count of versions 1 and 2 has; a score has fewer."""


class UnknownVersion(ValueError):
    """State written by a newer program; run that one, or rebuild the state from the log."""

    def __init__(self, version: object) -> None:
        super().__init__(f"a user's state has version {version!r}; this program knows up to {VERSION}")


def due_of(raw: bytes) -> int | None:
    """When the next timer of encoded state is due, in milliseconds, without decoding it; None where nothing waits."""
    if raw[0] in (VERSION, _VERSION_2):
        due: int = _HEAD.unpack_from(raw)[1]
        return None if due == _NOTHING_DUE else due
    return decode("", raw).next_due()


def encode(state: UserState) -> bytes:
    """The state as bytes; `decode` gives an equal state."""
    user = state.user
    sections: list[Any] = [
        [user.zone, user.locale, user.attributes] if user.zone or user.locale or user.attributes else 0,
        state.consent and {purpose: [*each] for purpose, each in state.consent.items()},
        1 if state.suppressed else 0,
        state.address_digest,
        state.seen,
        state.scores and {name: _pack_score(score) for name, score in state.scores.items()},
        state.levels and {name: [each.armed, each.due, each.stale_at] for name, each in state.levels.items()},
        [_pack_occurrence(each) for each in state.running],
        state.entries,
        {name: [list(each) for each in several] for name, several in state.endings.items()},
        [list(each) for each in state.reservations],
        state.sent,
        [list(each) for each in state.goals],
        state.windows and {key: _pack_window(each) for key, each in state.windows.items()},
        state.segments and {name: _pack_membership(each) for name, each in state.segments.items()},
    ]
    while sections and not sections[-1]:
        sections.pop()
    due = state.next_due()
    body = orjson.dumps([section or 0 for section in sections])
    return _HEAD.pack(VERSION, _NOTHING_DUE if due is None else due) + body


def decode(user_id: str, raw: bytes | None) -> UserState:
    """The state of `encode`'s bytes, an empty one of None; raises UnknownVersion for a newer program's."""
    if raw is None:
        return UserState(User(user_id))
    if raw[0] in (VERSION, _VERSION_2):
        sections = orjson.loads(memoryview(raw)[_HEAD.size :])
    elif raw[0] == _FIRST_VERSION:
        sections = _upgraded(orjson.loads(raw))
    else:
        raise UnknownVersion(raw[0])
    state = _state(user_id, sections)
    if raw[0] != VERSION:
        state.windows = _counts_among(sections[_SCORES])
    return state


def _state(user_id: str, sections: list[Any]) -> UserState:
    sections += [0] * (_SECTIONS - len(sections))
    profile, consent, suppressed, digest, seen, scores, levels, running, entries, endings, *rest = sections
    held, sent, goals, windows, segments = rest
    return UserState(
        User(user_id, *profile) if profile else User(user_id),
        {purpose: Consent(*each) for purpose, each in consent.items()} if consent else {},
        bool(suppressed),
        digest or "",
        seen or {},
        {name: _score(each) for name, each in scores.items() if len(each) < _COUNT} if scores else {},
        {name: Level(*each) for name, each in levels.items()} if levels else {},
        [_occurrence(each) for each in running] if running else [],
        entries or {},
        {trigger: [Ending(*each) for each in several] for trigger, several in endings.items()} if endings else {},
        [Reservation(*each) for each in held] if held else [],
        sent or {},
        [OpenGoal(*each) for each in goals] if goals else [],
        {key: _window(each) for key, each in windows.items()} if windows else {},
        {name: _membership(each) for name, each in segments.items()} if segments else {},
    )


def _pack_score(score: ScoreState) -> list[Any]:
    packed: list[Any] = [score.value, score.at, score.last_event]
    if score.parts:
        packed.append(score.parts)
    return packed


def _score(packed: list[Any]) -> ScoreState:
    score = ScoreState(packed[0], packed[1], packed[2])
    if len(packed) > 3:
        score.parts = [(points, since) for points, since in packed[3]]
    return score


def _counts_among(scores: Any) -> dict[str, WindowState]:
    """The counts that versions 1 and 2 kept among the scores, with their instants fifth."""
    counts = {name: each for name, each in scores.items() if len(each) == _COUNT} if scores else {}
    return {name: WindowState(each[4], last_event=each[2]) for name, each in counts.items()}


def _pack_window(window: WindowState) -> list[Any]:
    """Its parts by position, empty ones at the end left out; the instants as the first and the steps between them."""
    instants = window.instants
    packed: list[Any] = [
        [*instants[:1], *map(sub, instants[1:], instants)],
        window.last_event,
        window.amounts,
        window.values,
        [[number, *cell] for number, cell in window.cells.items()],
        window.folded,
    ]
    while packed and not packed[-1]:
        packed.pop()
    return packed


def _window(packed: list[Any]) -> WindowState:
    instants, last_event, amounts, values, cells, folded = packed + [0] * (6 - len(packed))
    return WindowState(
        list(accumulate(instants or ())),
        amounts or [],
        values or [],
        {number: Cell(*cell) for number, *cell in cells or ()},
        folded or {},
        last_event or "",
    )


def _pack_membership(membership: Membership) -> int | list[int]:
    inside = int(membership.inside)
    return inside if membership.due is None else [inside, membership.due]


def _membership(packed: int | list[int]) -> Membership:
    return Membership(bool(packed[0]), packed[1]) if isinstance(packed, list) else Membership(bool(packed))


def _pack_occurrence(each: Occurrence) -> list[Any]:
    event = each.event
    return [
        each.trigger,
        each.rule_hash,
        each.id,
        each.key,
        each.key_text,
        each.began,
        [event.id, event.type, event.time_ms, event.source, event.properties],
        each.entered_at,
        each.variant,
        each.step,
        each.due,
        each.wake,
        each.held,
    ]


def _occurrence(packed: list[Any]) -> Occurrence:
    trigger, rule_hash, name, key, key_text, began, event, *rest = packed
    return Occurrence(trigger, rule_hash, name, key, key_text, began, StoredEvent(*event), *rest)


def _upgraded(packed: Any) -> list[Any]:
    """The sections of a state of version 1: the same in the same order, behind the version."""
    if not isinstance(packed, list) or not packed or packed[0] != 1:
        raise UnknownVersion(packed[0] if isinstance(packed, list) and packed else None)
    return packed[1:]

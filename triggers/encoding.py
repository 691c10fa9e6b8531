"""A user's state as bytes: compact, versioned, and readable by every later program.

Version 4 is one byte with the version, eight with the instant at which the next timer is due (so that a million of
states are indexed without being decoded), and a MessagePack array of sections by position. Empty sections at its end
are left out, empty ones before it are 0, and so is what follows from the rest of its section. Version 3 was the same in
JSON, with everything written out. Version 2 had fewer sections and kept counts in windows with the scores. Version 1
was JSON throughout, and begins with `[`.
"""

import struct
from itertools import accumulate
from operator import sub
from typing import Any

import orjson
from msgspec.msgpack import Decoder, Encoder

from triggers.decay import ScoreState
from triggers.state import (
    Consent,
    Ending,
    Level,
    Link,
    Membership,
    Occurrence,
    OpenGoal,
    Plan,
    Reservation,
    StoredEvent,
    User,
    UserState,
    occurrence_id,
    text_of_key,
)
from triggers.windows import Cell, WindowState

VERSION = 4
_HEAD = struct.Struct(">Bq")
_NOTHING_DUE = -(2**63)
_WITH_HEAD = (2, 3, VERSION)
_IN_JSON = (2, 3)
_FIRST_VERSION = ord("[")
_SECTIONS = 17
_SCORES = 5
_COUNT = 5
"""How many parts a count of versions 1 and 2 has; a score has fewer."""
_pack = Encoder().encode
_unpack = Decoder().decode


class UnknownVersion(ValueError):
    """State written by a newer program; run that one, or rebuild the state from the log."""

    def __init__(self, version: object) -> None:
        super().__init__(f"a user's state has version {version!r}; this program knows up to {VERSION}")


def due_of(raw: bytes) -> int | None:
    """When the next timer of encoded state is due, in milliseconds, without decoding it; None where nothing waits."""
    if raw[0] in _WITH_HEAD:
        due: int = _HEAD.unpack_from(raw)[1]
        return None if due == _NOTHING_DUE else due
    return decode("", raw).next_due()


def encode(state: UserState) -> bytes:
    """The state as bytes; `decode` gives an equal state."""
    user = state.user
    sections: list[Any] = [
        [user.zone, user.locale, user.attributes] if state.profiled else 0,
        state.consent,
        1 if state.suppressed else 0,
        state.address_digest,
        state.seen and [[*state.seen], _steps([*state.seen.values()])],
        state.scores and {name: _pack_score(score) for name, score in state.scores.items()},
        state.levels and {name: _pack_level(each) for name, each in state.levels.items()},
        [_pack_occurrence(each) for each in state.running],
        state.entries,
        state.endings,
        state.reservations,
        state.sent and _pack_sent(state),
        state.goals,
        state.windows and {key: _pack_window(each) for key, each in state.windows.items()},
        _pack_segments(state) if state.met_by or state.segments else 0,
        [state.planned_by, _pack_plans(state.plans)] if state.planned_by else 0,
        state.links and {name: [_pack_link(each) for each in several] for name, several in state.links.items()},
    ]
    while sections and not sections[-1]:
        sections.pop()
    due = state.next_due()
    body = _pack([section or 0 for section in sections])
    return _HEAD.pack(VERSION, _NOTHING_DUE if due is None else due) + body


def decode(user_id: str, raw: bytes | None) -> UserState:
    """The state of `encode`'s bytes, an empty one of None; raises UnknownVersion for a newer program's."""
    if raw is None:
        return UserState(User(user_id))
    if raw[0] == VERSION:
        return _state(user_id, _unpack(memoryview(raw)[_HEAD.size :]))
    if raw[0] in _IN_JSON:
        sections = orjson.loads(memoryview(raw)[_HEAD.size :])
    elif raw[0] == _FIRST_VERSION:
        sections = _upgraded(orjson.loads(raw))
    else:
        raise UnknownVersion(raw[0])
    state = _state(user_id, sections)
    if raw[0] < 3 or raw[0] == _FIRST_VERSION:
        state.windows = _counts_among(sections[_SCORES])
    return state


def _state(user_id: str, sections: list[Any]) -> UserState:
    sections += [0] * (_SECTIONS - len(sections))
    profile, consent, suppressed, digest, seen, scores, levels, running, entries, endings, *rest = sections
    held, sent, goals, windows, segments, plans, links = rest
    reservations = [Reservation(*each) for each in held] if held else []
    met_by, segments = segments if isinstance(segments, list) else ("", segments)
    return UserState(
        User(user_id, *profile) if profile else User(user_id),
        {purpose: Consent(*each) for purpose, each in consent.items()} if consent else {},
        bool(suppressed),
        digest or "",
        _seen(seen) if seen else {},
        {name: _score(each) for name, each in scores.items() if len(each) < _COUNT} if scores else {},
        {name: _level(each) for name, each in levels.items()} if levels else {},
        [_occurrence(each) for each in running] if running else [],
        entries or {},
        {trigger: [Ending(*each) for each in several] for trigger, several in endings.items()} if endings else {},
        reservations,
        _sent(sent, reservations) if sent else {},
        [OpenGoal(*each) for each in goals] if goals else [],
        {key: _window(each) for key, each in windows.items()} if windows else {},
        met_by,
        {name: _membership(each) for name, each in segments.items()} if segments else {},
        bool(profile),
        plans[0] if plans else "",
        {name: Plan(due, day, fired) for name, (due, day, *fired) in plans[1].items()} if plans else {},
        {name: [_link(each) for each in several] for name, several in links.items()} if links else {},
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
    packed: list[Any] = [
        _steps(window.instants),
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


def _steps(instants: list[int]) -> list[int]:
    """The first of the instants and the steps between them."""
    return [*instants[:1], *map(sub, instants[1:], instants)]


def _seen(packed: Any) -> dict[str, int]:
    """The ids with their instants; before version 4 they were written as they are."""
    return packed if isinstance(packed, dict) else dict(zip(packed[0], accumulate(packed[1]), strict=True))


def _pack_level(level: Level) -> bool | list[Any]:
    return level.armed if level.due is level.stale_at is None else [level.armed, level.due, level.stale_at]


def _level(packed: bool | list[Any]) -> Level:
    return Level(*packed) if isinstance(packed, list) else Level(packed)


def _pack_sent(state: UserState) -> dict[str, list[str | int]]:
    """The command ids, those of reservations by their position among them."""
    at = {each.command_id: position for position, each in enumerate(state.reservations)}
    return {trigger: [at.get(each, each) for each in several] for trigger, several in state.sent.items()}


def _sent(packed: Any, reservations: list[Reservation]) -> dict[str, list[str]]:
    return {
        trigger: [reservations[each].command_id if isinstance(each, int) else each for each in several]
        for trigger, several in packed.items()
    }


def _pack_segments(state: UserState) -> list[Any]:
    return [state.met_by, {key: _pack_membership(each) for key, each in state.segments.items()}]


def _pack_membership(membership: Membership) -> bool | list[int]:
    return membership.inside if membership.due is None else [membership.inside, membership.due]


def _membership(packed: int | list[int]) -> Membership:
    return Membership(bool(packed[0]), packed[1]) if isinstance(packed, list) else Membership(bool(packed))


def _pack_plans(plans: dict[str, Plan]) -> dict[str, list[int | None]]:
    return {name: [plan.due, plan.day, *plan.fired] for name, plan in plans.items()}


def _pack_link(link: Link) -> list[Any]:
    packed: list[Any] = [link.time_ms, link.id, link.numbers, link.same]
    return packed if link.event is None else [*packed, _pack_event(link.event)]


def _link(packed: list[Any]) -> Link:
    time_ms, name, numbers, same, *event = packed
    return Link(time_ms, name, numbers, same, StoredEvent(*event[0]) if event else None)


def _pack_event(event: StoredEvent) -> list[Any]:
    return [event.id, event.type, event.time_ms, event.source, event.properties]


def _pack_occurrence(each: Occurrence) -> list[Any]:
    began, event = each.began, each.event
    packed = [
        each.trigger,
        each.rule_hash,
        None if each.id == occurrence_id(each.key, began) else each.id,
        each.key,
        None if each.key_text == text_of_key(each.key) else each.key_text,
        None if began == event.id else began,
        _pack_event(event),
        None if each.entered_at == event.time_ms else each.entered_at,
        each.variant,
        each.step,
        each.due,
        None if each.wake == each.due else each.wake,
    ]
    if each.held or each.since is not None:
        packed += [each.held, each.since]
    return packed


def _occurrence(packed: list[Any]) -> Occurrence:
    trigger, rule_hash, name, key, text, began, packed_event, entered_at, variant, step, due, wake, *rest = packed
    event = StoredEvent(*packed_event)
    if began is None:
        began = event.id
    return Occurrence(
        trigger,
        rule_hash,
        occurrence_id(key, began) if name is None else name,
        key,
        text_of_key(key) if text is None else text,
        began,
        event,
        event.time_ms if entered_at is None else entered_at,
        variant,
        step,
        due,
        due if wake is None else wake,
        *rest,
    )


def _upgraded(packed: Any) -> list[Any]:
    """The sections of a state of version 1: the same in the same order, behind the version."""
    if not isinstance(packed, list) or not packed or packed[0] != 1:
        raise UnknownVersion(packed[0] if isinstance(packed, list) and packed else None)
    return packed[1:]

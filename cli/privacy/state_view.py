"""The state of a user as stream workers keep it, for people to read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from triggers.measures.decay import ScoreState
from triggers.rules import encoding
from triggers.rules.events import StoredEvent
from triggers.rules.rule import Score
from triggers.rules.state import Occurrence, UserState, window_of


def state_view(user_id: str, raw: bytes, scores: Mapping[str, Score], now: datetime) -> dict[str, Any]:
    """The state in these bytes, with scores as they are at `now`. Raises UnknownFormat."""
    state = encoding.decode(user_id, raw)
    now_ms = int(now.timestamp() * 1000)
    return {
        "profile": {"zone": state.user.zone, "locale": state.user.locale, "attributes": state.user.attributes},
        "consent": {name: {"granted": each.granted, "at": _moment(each.at)} for name, each in state.consent.items()},
        "paused_until": _moment(state.paused_until),
        "suppressed": state.suppressed,
        "scores": {name: _score(each, scores.get(name), now_ms) for name, each in state.scores.items()},
        "segments": sorted(name for name, each in state.segments.items() if each.inside),
        "windows": {name: msgspec.to_builtins(window_of(state.windows, name)) for name in [*state.windows]},
        "levels": msgspec.to_builtins(state.levels),
        "running": [_occurrence(each) for each in state.running],
        "sends": [each._asdict() | {"at": _moment(each.at)} for each in state.reservations],
        **_remembered(state),
    }


def _remembered(state: UserState) -> dict[str, Any]:
    """What guards against repeats, and what waits for more."""
    return {
        "goals": [each._asdict() for each in state.goals],
        "entries": state.entries,
        "unless_events": {name: [each._asdict() for each in several] for name, several in state.unless_events.items()},
        "sequences": msgspec.to_builtins(state.links),
        "plans": msgspec.to_builtins(state.plans),
        "remembered_event_ids": len(state.seen),
    }


def _score(state: ScoreState, score: Score | None, now_ms: int) -> dict[str, Any]:
    """A score now; of one that no rule declares any more, its value at its last addition."""
    value = state.value if score is None else score.curve.read(state, now_ms)
    return {"value": value, "last_addition": _moment(state.at), "declared": score is not None}


def _occurrence(each: Occurrence) -> dict[str, Any]:
    return {
        "trigger": each.trigger,
        "occurrence": each.id,
        "step": each.step,
        "variant": each.variant,
        "entered_at": _moment(each.entered_at),
        "due": _moment(each.due),
        "event": _event(each.event),
        "remembered_events": [_event(event) for event in each.remembered()],
    }


def _event(event: StoredEvent) -> dict[str, Any]:
    return {
        "id": event.id,
        "type": event.type,
        "time": _moment(event.time_ms),
        "source": event.source,
        "properties": event.properties,
    }


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)

"""Frequency caps: how many sends a window contains, and when there will be room.

Caps count sends by the instant of their decision. A send reserves its place in every scope at once. The reservation is
released when delivery reports that no server accepted the message. A send that is only recorded (shadow, outside a
canary, held out) counts real sends and those recorded for the same reason; real sends count only each other.
"""

from operator import attrgetter

from msgspec import Struct

from schemas.brands import consent_name
from schemas.vocabulary import TRANSACTIONAL, DecisionOutcome
from triggers.cel.conditions import Condition
from triggers.engine.evaluation import Evaluation
from triggers.engine.gates.request import GateRequest
from triggers.measures.local_time import calendar_window
from triggers.measures.shapes import Rolling
from triggers.rules.assignment import moment_within
from triggers.rules.rule import Cap, Send, Trigger
from triggers.rules.state import Occurrence, Reservation

MOST_NAMED = 20
"""How many of the counted sends a decision lists: enough to read, while a cap may allow a thousand."""
_SENT = DecisionOutcome.SEND
_AT = attrgetter("at")


class CapAnswer(Struct, eq=False):
    """The common answer of all caps: that of the first full one, or of the one with the least room. `until` is the
    first instant at which none of them is full, and the user's moment within each `spread` has come."""

    passed: bool
    observed: int
    cap: Cap
    maximum: int
    until: int | None = None
    defer: bool = False
    counted: list[str] = []
    """The commands that the full cap counted, oldest first; only the newest if there are many."""


def ask_caps(request: GateRequest) -> CapAnswer:
    """Asks every cap of the trigger for room for one more send; raises EvaluationError if a `max` fails."""
    full: tuple[list[Reservation], Cap, int] | None = None
    tightest: tuple[int, Cap, int] | None = None
    until: int | None = 0
    defers = True
    for cap in request.trigger.caps:
        maximum = _maximum(cap, request)
        counted = _counted(cap, request)
        if len(counted) >= maximum:
            room = _room_at(cap, counted, maximum, request.evaluation)
            room = room if room is None else room + _spread(cap, room, request)
            until = None if until is None or room is None else max(until, room)
            defers = defers and cap.over == "defer"
            full = full or (counted, cap, maximum)
        elif tightest is None or maximum - len(counted) < tightest[2] - tightest[0]:
            tightest = (len(counted), cap, maximum)
    if full is not None:
        counted, cap, maximum = full
        named = [each.command_id for each in counted[-MOST_NAMED:]]
        return CapAnswer(False, len(counted), cap, maximum, until, defers, named)
    assert tightest is not None
    return CapAnswer(True, *tightest)


def _maximum(cap: Cap, request: GateRequest) -> int:
    return int(cap.maximum.number(request.context)) if isinstance(cap.maximum, Condition) else cap.maximum


def _counted(cap: Cap, request: GateRequest) -> list[Reservation]:
    """The reservations in the cap's window, oldest first: those of real sends and, for a send that is only recorded,
    those of its own kind."""
    evaluation = request.evaluation
    if not evaluation.state.reservations:
        return []
    if isinstance(cap.window, Rolling):
        since = evaluation.now_ms - cap.window.ms + 1
    else:
        since, _ = calendar_window(evaluation.zone(), evaluation.now_ms, cap.window.unit)
    kinds = (_SENT, request.verdict.outcome)
    standing = [
        each
        for each in evaluation.state.reservations
        if each.at >= since and each.kind in kinds and _in_scope(cap, each, request)
    ]
    if len(standing) > 1:
        standing.sort(key=_AT)
    return standing


def _in_scope(cap: Cap, each: Reservation, request: GateRequest) -> bool:
    """Whether the cap counts a reservation. Transactional sends count only for their own trigger.

    A purpose is that of every brand, and a brand that of every purpose. Triggers without a brand are alike, too.
    """
    trigger = request.trigger
    own = each.trigger == trigger.name
    if cap.scope == "trigger":
        return own
    if cap.scope == "key":
        return own and each.key_text == request.occurrence.key_text
    if each.purpose == TRANSACTIONAL and trigger.purpose != TRANSACTIONAL:
        return False
    if cap.scope == "purpose":
        same = trigger.purpose if each.brand is None else consent_name(each.brand, trigger.purpose)
        return each.purpose == same
    if cap.scope == "brand":
        return each.brand == trigger.brand
    return cap.scope == "all" or each.channel == request.send.channel


def _room_at(cap: Cap, counted: list[Reservation], maximum: int, evaluation: Evaluation) -> int | None:
    """The first instant at which the window contains fewer than `maximum` of those counted; None for a cap of 0."""
    if maximum <= 0:
        return None
    if isinstance(cap.window, Rolling):
        return counted[len(counted) - maximum].at + cap.window.ms
    return calendar_window(evaluation.zone(), evaluation.now_ms, cap.window.unit)[1]


def _spread(cap: Cap, room: int, request: GateRequest) -> int:
    """How long after its room the user's send leaves. It is less than what is left until the expiry, so that a send
    which has room before its expiry also leaves before it."""
    span = min(cap.spread_ms, request.expires_ms - room)
    user_id = request.evaluation.state.user_id
    return moment_within(span, "spread", request.trigger.name, user_id) if span > 0 else 0


def reserve(
    evaluation: Evaluation, trigger: Trigger, occurrence: Occurrence, send: Send, kind: str, command_id: str
) -> None:
    """Counts a send from now on, and removes reservations that are outside every window.

    A real send replaces an earlier record of the same command, so that it is not counted twice.
    """
    state = evaluation.state
    if state.reservations:
        release(evaluation, command_id)
        since = evaluation.now_ms - evaluation.rules.remember_ms
        if state.reservations and state.reservations[0].at <= since:
            state.reservations = [each for each in state.reservations if each.at > since]
    state.reservations.append(
        Reservation(
            command_id,
            evaluation.now_ms,
            kind,
            trigger.name,
            occurrence.key_text,
            trigger.consent,
            send.channel,
            occurrence.id,
            send.id,
            trigger.brand,
        )
    )


def release(evaluation: Evaluation, command_id: str) -> None:
    """Releases a reservation."""
    evaluation.state.reservations = [each for each in evaluation.state.reservations if each.command_id != command_id]

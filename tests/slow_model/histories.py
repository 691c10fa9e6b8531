"""Small histories, drawn by hypothesis: events, profiles and outcomes.

Gaps come from one short list, so that windows, waits and events meet at equal instants and a millisecond beside them;
beginnings lie before nights in which clocks change and before a week that spans the year.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from hypothesis import strategies as st
from slow_model.documents import duration
from slow_model.grammar import LENGTHS, Node, nodes, types
from slow_model.timeline import BROADCAST

STARTS = [
    datetime.fromisoformat(text).replace(tzinfo=UTC)
    for text in ("2026-01-05T00:00", "2026-03-28T18:00", "2026-10-24T18:00", "2026-12-29T22:00")
]
ZONES = ["UTC", "Europe/Berlin", "Pacific/Auckland", "America/New_York", "Mars/Olympus", None]
BORN: list[str | int | bool | None] = ["1990-01-06T00:00:00Z", "1992-02-29T12:00:00Z", "2000-03-29T00:30:00Z"]
BORN += ["1990-01-06", "1992-02-29", "2000-03-29T00:00:00+02:00", 631_584_000, 954_289_800, "6.1.1990", True, None, ""]
"""Days and instants as publishers write them, readable or not."""
EVERYTHING = ("marketing", "news", "shop/marketing", "shop/news", "outlet/marketing")
"""All that most users consent to."""
GAPS_MS = [0, 0, 1, 1_000, 29_999, 30_000, *(duration(length) + beside for length in LENGTHS for beside in (-1, 0, 1))]


@dataclass
class HistoryItem:
    """One thing that happens: an event, one without a user, a profile, one that cannot be read and refuses purposes as
    of `age_ms` ago, the removal of the user, or an outcome of the command of this number."""

    gap_ms: int
    kind: str
    age_ms: int = 0
    name: str = ""
    properties: Node = field(default_factory=dict)
    number: int = 0


gaps = st.sampled_from(GAPS_MS)
_AGES_MS = [0, 0, 0, 0, 1, 600_000, 3_600_000]
ages = st.sampled_from(_AGES_MS)
"""How old an event is when it comes; never ahead of its time: what a metric says of that, the language leaves open."""
event_properties = nodes(k=st.sampled_from(["x", "x", "y", None]), n=st.sampled_from([0, 1, 2, 2, None]))
events = st.builds(
    HistoryItem,
    gaps,
    st.just("event"),
    ages,
    types,
    event_properties,
    st.integers(0, 30),
)
profiles = st.builds(
    HistoryItem,
    gaps,
    st.just("profile"),
    properties=st.fixed_dictionaries(
        {
            "zone": st.sampled_from(ZONES),
            "consent": st.sampled_from([*[EVERYTHING] * 4, ("marketing", "shop/news"), ("shop/marketing",), ()]),
            "address": st.sampled_from([*["u1@example.org"] * 3, "new@example.org", None]),
            "paused_ms": st.sampled_from([*[None] * 8, 0, 1, duration("1h"), duration("1d")]),
            "vip": st.booleans(),
            "limit": st.sampled_from([0, 1, 2]),
            "trial": st.sampled_from(["2026-01-05T06:00:00Z", "2026-03-29T01:30:00Z", "2026-10-25T01:00:00Z"]),
            "born": st.sampled_from(BORN),
        }
    ),
)
outcomes = st.builds(
    HistoryItem,
    gaps,
    st.just("outcome"),
    name=st.sampled_from(
        ["refused", "suppressed", "accepted", "unsubscribed", "complained", "clicked", "bounced", "reinstated"]
    ),
    properties=st.fixed_dictionaries({}, optional={"hard": st.booleans()}),
    number=st.integers(0, 3),
)
unreadable = st.builds(
    HistoryItem,
    gaps,
    st.just("unreadable"),
    ages,
    properties=st.sampled_from(
        [{"refused": ()}, {"refused": ("marketing",)}, {"refused": ("news", "marketing", "shop/marketing")}]
    ),
)
removals = st.builds(HistoryItem, gaps, st.just("removed"))
kinds = [*[events] * 8, *[profiles] * 2, *[outcomes] * 2, unreadable, removals]
histories = st.tuples(
    st.sampled_from(STARTS),
    profiles,
    st.lists(st.one_of(kinds), min_size=1, max_size=14),
)

short_gaps = st.sampled_from([0, 0, 1, 1_000, *(duration(length) for length in ("10m", "10m", "30m", "1h"))])
early = st.sampled_from([0, 0, 0, 1, -duration("10m")])
heard = st.sampled_from(["buy", "view"])
shared = st.fixed_dictionaries({"k": st.sampled_from(["x", "x", "x", "y"]), "n": st.sampled_from([1, 1, 2, 2.0])})
broadcast_histories = st.tuples(
    st.sampled_from(STARTS),
    profiles,
    st.lists(
        st.one_of(
            *[st.builds(HistoryItem, short_gaps, st.just("event"), ages, types, shared, st.integers(0, 30))] * 4,
            *[st.builds(HistoryItem, short_gaps, st.just(BROADCAST), early, heard, shared, st.integers(0, 9))] * 4,
            profiles,
            removals,
        ),
        min_size=7,
        max_size=20,
    ),
)
"""Events of a user, and without one: a repeated number of these is a repeated id."""

strokes = st.tuples(
    st.sampled_from(
        [datetime.fromisoformat(f"{day}T21:00+00:00") for day in ("2026-01-05", "2026-03-28", "2026-10-24")]
    ),
    profiles,
    st.lists(
        st.builds(
            HistoryItem,
            st.sampled_from([duration(length) for length in ("30m", "1h", "1h", "2h")] + [0, 0, 1]),
            st.just("event"),
            st.sampled_from([0, 0, 0, 0, 1, duration("30m"), duration("1h")]),
            st.sampled_from(["ping", "ping", "buy"]),
            event_properties,
            st.integers(0, 30),
        ),
        min_size=2,
        max_size=14,
    ),
)
"""Events on the stroke of half an hour, several at one instant, over midnights and changes of the clock."""

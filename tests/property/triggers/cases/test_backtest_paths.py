"""A backtest keeps only the events that matter, encoded, and takes the fast path; it tells what a slow one tells."""

from typing import Any

from drivers.slow_backtest import SlowBacktest
from drivers.trigger_world import at, event, rules
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.decisions import Decision
from schemas.events import Event
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.wording import counted
from triggers.cases.backtest import BacktestResult, backtest
from triggers.cases.history_records import Order
from triggers.cel.runtime import as_time

COUNTING = """\
score: warm
decay: {curve: exponential, half_life: 2h}
add: {event: view, points: 1}
---
metric: views
event: view
where: event.n < 2
within: 2h
---
trigger: keen
purpose: marketing
on: {score: warm, reaches: 3, rearm: 1}
send: a
"""
"""Rules whose events take the fast path if none of the following reads them."""
OTHERS = {
    "left": "trigger: left\npurpose: marketing\non: ping\nafter: 1h\nunless: buy\nsend: a\n",
    "thanks": "trigger: thanks\npurpose: news\non: {event: buy, where: event.n > 1}\ncap: {max: 1, per: 1d}\nsend: b\n",
    "cold": "trigger: cold\npurpose: news\non: {score: warm, falls_below: 0.5}\nsend: a\n",
    "daily": "trigger: daily\npurpose: marketing\non: {every: day, at: '10:00'}\nsend: a\n",
    "birthday": "trigger: birthday\npurpose: news\non: {date: user.born, yearly: true, at: '10:00'}\nsend: a\n",
    "segment": "segment: few\nwhen: metric.views.count < 3\n---\n"
    "trigger: many\npurpose: news\non: {leaves: few}\nsend: c\n",
    "restocked": "trigger: restocked\npurpose: news\non: ping\nunless: {event: buy, same: n}\nsteps:\n"
    "  - wait_for: {event: view, same: n}\n    up_to: 3h\n    then: [{send: a}]\n    else: [{send: b}]\n",
    "own": "segment: mine\nwhen: metric.views.count < 3 && user.id != 'u1'\n",
}
lines = st.tuples(
    st.sampled_from([0, 1, 600_000, 3_600_000, 40_000_000]),  # milliseconds after the one before
    st.sampled_from([0, 0, 1, 600_000, 7_200_000]),  # how much older it is when it comes
    st.sampled_from(["ping", "buy", "view", "view", "view", "unread"]),
    st.sampled_from(["u1", "u1", "u2", "u2", "u3", None]),
    st.integers(0, 20),  # its id
    st.sampled_from([{"n": 0}, {"n": 1}, {"n": 2}, {}, {"n": "x"}]),
)
consents = {name: {"granted": True, "time": "2020-01-01T00:00:00Z"} for name in ("marketing", "news")}
known = st.fixed_dictionaries(
    {"consent": st.sampled_from([consents, {}])},
    optional={
        "zone": st.sampled_from(["Europe/Berlin", "Mars/Olympus"]),
        "attributes": st.sampled_from([{"born": "1990-01-06"}, {"born": "6.1.1990"}]),
    },
)
profiles = st.none() | st.dictionaries(st.sampled_from(["u1", "u2", "quiet"]), known)


def events_of(drawn: list[tuple[Any, ...]]) -> list[Event]:
    """The log. Some events have an id that another one has, and some come late."""
    arrival, log = at("2026-01-05 08:00"), []
    for gap_ms, age_ms, name, user, number, properties in drawn:
        arrival += gap_ms
        log.append(event(name, arrival - age_ms, f"e{number}", **properties).model_copy(update={"user_id": user}))
    return log


@settings(deadline=None)
@given(
    st.sets(st.sampled_from(sorted(OTHERS)), max_size=3),
    st.lists(lines, max_size=25),
    profiles,
    st.sampled_from(["event_time", "given"]),
)
@example({"own"}, [(0, 0, "unread", "u1", 1, {})], None, "event_time")  # what a segment asks of the user's id
def test_a_backtest_tells_what_the_general_path_tells_of_every_event(
    others: set[str], drawn: list[tuple[Any, ...]], given_profiles: Any, order: Order
) -> None:
    loaded = rules("---\n".join([COUNTING, *(OTHERS[name] for name in sorted(others))]))
    log = events_of(drawn)
    people = given_profiles and {user: Profile(user_id=user, **each) for user, each in given_profiles.items()}
    slow = SlowBacktest(loaded, log, people, order)
    decided: list[Decision] = []
    found = backtest(loaded, log, people, order=order, on_decision=decided.append)
    tells_the_same(found, decided, slow)


def tells_the_same(found: BacktestResult, decided: list[Decision], slow: SlowBacktest) -> None:
    """The same decisions and figures, users and problems in the same order."""
    assert decided == slow.decided
    if slow.result.users:
        assert f"{counted(slow.result.waiting, 'user')} with timers after the end" in found.notes
    found.notes = []
    assert found == slow.result
    assert list(found.states) == list(slow.result.states)


HEARING = """\
trigger: opened
purpose: news
on: email.opened
send: d
---
trigger: thanked
purpose: news
on: {event: ping}
key: event.n
cap: {max: 2, per: 1d}
quiet: {from: "20:00", to: "08:00"}
send: b
"""
heard = st.tuples(
    st.sampled_from([-3_600_000, 0, 600_000, 3_600_000, 40_000_000]),  # milliseconds after the first event
    st.sampled_from(["u1", "u2", "u4"]),
    st.sampled_from(["opened", "bounced", "complained", "unsubscribed", "suppressed"]),
    st.integers(0, 5),  # its id
)
changes = st.lists(st.tuples(st.sampled_from([None, -1, 600_000, 40_000_000]), st.sampled_from(["u1", "u2"]), known))


@settings(deadline=None)
@given(
    st.sets(st.sampled_from(sorted(OTHERS)), max_size=2),
    st.lists(lines, max_size=20),
    st.none() | changes,
    st.lists(heard, max_size=6, unique_by=lambda each: each[3]),
    st.none() | st.sampled_from([0, 3_600_000, 90_000_000]),
)
def test_profiles_outcomes_and_an_end_are_told_as_the_general_path_tells_them(
    others: set[str], drawn: list[Any], changed: list[Any] | None, outcomes: list[Any], end: int | None
) -> None:
    loaded = rules("---\n".join([COUNTING, HEARING, *(OTHERS[name] for name in sorted(others))]))
    start = at("2026-01-05 08:00")
    log = events_of(drawn)
    people = changed and [
        (None if after is None else start + after, Profile(user_id=user, **each)) for after, user, each in changed
    ]
    told = [
        Outcome(id=f"o{number}", command_id="c", user_id=user, kind=kind, time=as_time(start + after), hard=True)
        for after, user, kind, number in outcomes
    ]
    until_ms = None if end is None else start + end
    slow = SlowBacktest(loaded, log, people, "event_time", told, until_ms)
    decided: list[Decision] = []
    found = backtest(loaded, log, people, told, until_ms=until_ms, on_decision=decided.append)
    tells_the_same(found, decided, slow)

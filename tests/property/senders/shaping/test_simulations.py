"""A simulation takes every attempt once, counts no lane twice, and finds nothing where a file allows everything."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from senders.shaping.loader import parse
from senders.shaping.simulation import RecordedAttempt, Simulator

AT = datetime(2026, 11, 29, tzinfo=UTC)
FREE = "[default]\nmax_message_rate = '100000/s,max_burst=100000'\n"
STRICT = """
[default]
max_message_rate = "1/m"
[[default.automation]]
pattern = 'blocked'
trigger = "2/h"
action = "suspend"
duration = "1h"
"""
ATTEMPTS = st.lists(
    st.builds(
        RecordedAttempt,
        at=st.integers(0, 7200).map(lambda second: AT + timedelta(seconds=second)),
        domain=st.sampled_from(["a.example", "b.example"]),
        mx=st.just(("mx.example",)),
        source=st.sampled_from(["one", "two"]),
        code=st.sampled_from([250, 421, 550]),
        text=st.sampled_from(["blocked", "full", ""]),
    ),
    max_size=60,
).map(lambda attempts: sorted(attempts, key=lambda attempt: attempt.at))


@given(ATTEMPTS)
def test_every_attempt_is_counted_once(attempts: list[RecordedAttempt]) -> None:
    found = Simulator(parse(STRICT.encode(), "f")).run(attempts)

    assert sum(lane.attempts for lane in found.lanes.values()) == len(attempts)
    assert all(lane.suspended + lane.held + lane.late <= lane.attempts for lane in found.lanes.values())


@given(ATTEMPTS)
def test_a_file_that_allows_everything_holds_nothing_up(attempts: list[RecordedAttempt]) -> None:
    found = Simulator(parse(FREE.encode(), "f")).run(attempts)

    assert found.triggered == {}
    assert all(lane.suspended + lane.held + lane.late == 0 for lane in found.lanes.values())


@given(ATTEMPTS)
def test_a_rule_triggers_only_at_replies_that_it_matches(attempts: list[RecordedAttempt]) -> None:
    found = Simulator(parse(STRICT.encode(), "f")).run(attempts)

    matches = sum(attempt.code >= 400 and "blocked" in attempt.text for attempt in attempts)
    assert sum(found.triggered.values()) <= max(0, matches - 1)

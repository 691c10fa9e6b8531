"""Who watches conversations sees so many, and nobody waits for them."""

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from infra.service.watchdog import Watchdog
from schemas.rules import Control
from senders.delivery.traces import MAX_LINES, MAX_PAYLOAD, Traces
from senders.policy.switches import DeliverySwitches

NOW = datetime(2026, 11, 29, tzinfo=UTC)


class WatchedDomains:
    """Traces, and somebody who watches other.example for a minute."""

    def __init__(self, most: int = 2) -> None:
        self.now = NOW
        self.switches = DeliverySwitches()
        self.traces = Traces(self.switches, None, "worker", Watchdog(), lambda: self.now)
        self.watch("ebbtide_trace_1", most)

    def watch(self, channel: str, most: int) -> None:
        number, until = self.switches.number + 1, self.now + timedelta(minutes=1)
        scope = "delivery/domain/other.example"
        self.switches.put(
            Control(number=number, scope=scope, paused=False, at=self.now, until=until, trace=channel, most=most)
        )
        self.traces.follow()


def test_only_conversations_with_the_domain_are_watched_and_so_many() -> None:
    watched = WatchedDomains(most=2)
    watched.traces.follow()  # the same watcher: the count goes on

    assert watched.traces.begin("big.example") is None
    assert [watched.traces.begin("other.example") is not None for _ in range(3)] == [True, True, False]
    watched.watch("ebbtide_trace_2", 1)
    assert watched.traces.begin("other.example") is not None, "another watcher begins anew"


def test_a_watch_ends_by_itself() -> None:
    watched = WatchedDomains()
    watched.now += timedelta(minutes=1)
    watched.traces.follow()

    assert watched.traces.begin("other.example") is None


@given(st.text(max_size=20), st.integers(1, 20_000))
def test_whatever_a_line_says_one_notice_can_carry_it(text: str, times: int) -> None:
    watched = WatchedDomains(most=2)
    trace = watched.traces.begin("other.example")
    assert trace is not None
    trace(text * times)
    trace.end(text * times)

    while watched.traces._lines:
        _, payload = watched.traces._batch()
        assert len(payload.encode()) <= MAX_PAYLOAD + 2
        for said in json.loads(payload):
            assert said["line"] in text * times
            assert len(said["line"]) == len(text * times) or len(json.dumps(said["line"]).encode()) >= 4_000


def test_a_long_reply_of_characters_beyond_the_basic_plane_is_shown() -> None:
    watched = WatchedDomains()
    trace = watched.traces.begin("other.example")
    assert trace is not None
    trace("550 " + 1_000 * "😀" + "\udc80")

    _, payload = watched.traces._batch()
    assert json.loads(payload)[0]["line"].startswith("550 " + 1_000 * "😀")


def test_lines_that_nobody_takes_are_bounded_and_said_to_be_left_out() -> None:
    watched = WatchedDomains()
    trace = watched.traces.begin("other.example")
    assert trace is not None
    for number in range(MAX_LINES + 7):
        trace(f"line {number} {'x' * 400}")
    sent, payloads = [], []
    while watched.traces._lines:
        channel, payload = watched.traces._batch()
        assert channel == "ebbtide_trace_1"
        payloads.append(payload)
        sent += json.loads(payload)

    assert max(len(payload.encode()) for payload in payloads) <= MAX_PAYLOAD + 2
    assert len(sent) == MAX_LINES + 1
    assert sent[-1]["line"] == "* 7 lines were left out"

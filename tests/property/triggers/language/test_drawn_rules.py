"""Properties of any rules and any history, for only the engine: rules and histories drawn from the same grammar."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from drivers.examples import examples
from drivers.user_states import contents
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from slow_model.documents import duration
from slow_model.duel import EngineHistory, Row, book_of, evaluator_of, recoded
from slow_model.grammar import rule_sets
from slow_model.histories import HistoryItem, broadcast_histories, histories
from slow_model.localtime import stands_in, zone_of
from slow_model.narrow_grammar import beside, segment_rules, waiting_rules
from slow_model.rulebook import Book, Cap, Rule
from slow_model.timeline import BROADCAST, REMOVED, UNREADABLE, UserRecord

from schemas.codec import decode
from schemas.decisions import Decision
from schemas.events import Event
from schemas.journal import AppliedRange, Checkpoint
from schemas.profiles import Profile
from schemas.topics import BROADCASTS, DECISIONS
from streams.decisions.evaluate import Decider
from streams.decisions.replay import Appended, Replay
from triggers.cases.backtest import backtest
from triggers.rules.state import UserState

History = tuple[datetime, HistoryItem, list[HistoryItem]]
unhurried = settings(deadline=None, max_examples=examples(30, 1_000), suppress_health_check=[HealthCheck.too_slow])
Between = Callable[[UserState], UserState]


def played(text: str, history: History, between: Between = lambda state: state) -> EngineHistory:
    start, profile, happenings = history
    run = EngineHistory(evaluator_of(text), None, between)
    run.play(start, [profile, *happenings])
    return run


@unhurried
@given(rule_sets(), histories)
def test_encoding_and_decoding_at_every_step_changes_nothing(text: str, history: History) -> None:
    def same(state: UserState) -> UserState:
        again = recoded(state)
        assert contents(again) == contents(state)
        return again

    assert played(text, history, same).rows == played(text, history).rows


@unhurried
@given(rule_sets(), histories)
def test_an_event_that_comes_twice_changes_nothing(text: str, history: History) -> None:
    start, profile, happenings = history
    once, twice = (EngineHistory(evaluator_of(text), None) for _ in range(2))
    once.play(start, [profile, *happenings])
    twice.doubled = True
    twice.play(start, [profile, *happenings])
    assert once.rows == twice.rows


@unhurried
@given(rule_sets(), histories, histories)
def test_users_do_not_affect_each_other(text: str, one: History, other: History) -> None:
    """One evaluator, two users in turns: each has the same decisions as without the other."""
    evaluator = evaluator_of(text)
    together = [EngineHistory(evaluator, None) for _ in range(2)]
    plays = [
        run.playing(start, [profile, *happenings])
        for run, (start, profile, happenings) in zip(together, (one, other), strict=True)
    ]
    while plays:
        plays = [each for each in plays if next(each, None) is not None]
    assert [run.rows for run in together] == [played(text, history).rows for history in (one, other)]


@unhurried
@given(segment_rules(), histories)
def test_other_rules_never_change_the_answer_of_a_segment(text: str, history: History) -> None:
    rows = [row for row in played(beside(text), history).rows if row[0] in ("k", "l")]
    assert rows == played(text, history).rows


@unhurried
@given(rule_sets(), histories)
def test_a_cap_is_never_exceeded(text: str, history: History) -> None:
    """Counted at every send, over all sends before it, as the profile had the zone then; nothing is given back here."""
    start, profile, happenings = history
    kept = [each for each in happenings if each.name not in ("refused", "suppressed")]
    book, zone, sent = book_of(text), zone_of(None), list[tuple[Rule, Row]]()
    run = EngineHistory(evaluator_of(text), None)
    for happening in run.playing(start, [profile, *kept]):
        rows, run.rows = run.rows, []
        for row in rows:
            if row[3] == "send":
                sent.append((book.rules[row[0]], row))
                _count(book, sent, zone)
        if happening.kind == "profile":
            zone = zone_of(happening.properties["zone"])


def _count(book: Book, sent: list[tuple[Rule, Row]], zone: Any) -> None:
    rule, last = sent[-1]
    for cap in rule.caps:
        if cap.max.isdigit() and cap.scope != "key":
            counted = [row for other, row in sent if _in_scope(cap, rule, other)]
            inside = sum(stands_in(cap.window, zone, row[5], last[5]) for row in counted)
            assert inside <= int(cap.max), (cap, book.rules.keys())


def _in_scope(cap: Cap, rule: Rule, other: Rule) -> bool:
    if cap.scope == "trigger":
        return other.name == rule.name
    if other.purpose == "transactional" and rule.purpose != "transactional":
        return False
    if cap.scope == "brand":
        return other.brand == rule.brand
    return cap.scope != "purpose" or other.purpose == rule.purpose


@unhurried
@given(rule_sets(), histories)
def test_a_backtest_decides_what_was_decided_live(text: str, history: History) -> None:
    """Where the profile itself begins nothing: to a backtest it is known from the start, which is the first event."""
    start, profile, happenings = history
    events = [replace(each, age_ms=0) for each in happenings if each.kind == "event"]
    events[:1] = [replace(each, gap_ms=0) for each in events[:1]]
    live = EngineHistory(evaluator_of(text), None)
    live.after = timedelta()
    for happening in live.playing(start, [profile, *events]):
        assume(happening.kind == "event" or not (live.rows or live.state.running or live.state.entries))
    bodies = [fact.body for fact in live.facts if fact.topic == "events"]
    before = next(fact for fact in live.facts if fact.topic == "profiles")
    tried = EngineHistory(evaluator_of(text), None)
    backtest(
        tried.evaluator.rules,
        [Event.model_validate(body) for body in bodies],
        {"u1": Profile.model_validate(before.body)},
        order="given",
        on_decision=lambda decision: tried.keep(decision),
    )
    assert tried.rows == (live.rows if bodies else [])


@unhurried
@given(rule_sets(), histories, st.integers(1, 5))
def test_a_replay_of_the_journal_decides_what_was_decided_live(text: str, history: History, each: int) -> None:
    replays(text, history, each)


@unhurried
@given(waiting_rules(), broadcast_histories, st.integers(1, 5))
def test_a_replay_with_events_without_a_user_decides_what_was_decided_live(
    text: str, history: History, each: int
) -> None:
    replays(text, history, each)


def replays(text: str, history: History, each: int) -> None:
    """Timers looked at before every record and at the end, as in a worker; the journal cut after so many records."""
    start, profile, happenings = history
    live = EngineHistory(evaluator_of(text), every_ms=_NEVER_MS)
    live.play(start, [profile, *happenings])
    inputs: dict[str, dict[int, Appended]] = {"events": {}, "profiles": {}, "outcomes": {}, BROADCASTS.name: {}}
    journal, segment, facts = [], list[AppliedRange](), iter(live.facts)
    for look, following in zip(live.looks, [*live.looks[1:], 0], strict=True):
        if look < 0:
            fact = next(facts)
            topic = _TOPICS.get(fact.topic, fact.topic)
            offset = len(inputs[topic])
            inputs[topic][offset] = Appended(b"u1", _value(fact), fact.now_ms)
            segment.append(AppliedRange(topic=topic, partition=0, first=offset, last=offset))
        if len(segment) == each or (look >= 0 and following >= 0):  # a look before a record needs no telling
            journal.append(_checkpoint(segment, max(look, fact.now_ms)))
            segment = []
    replay, decider = Replay(0, 1, inputs), Decider(evaluator_of(text))
    for checkpoint in journal:
        replay.apply(checkpoint, decider)
    again = EngineHistory(decider.evaluator, None)
    for output in replay.written:
        if output.topic == DECISIONS.name:
            again.keep(decode(Decision, output.value))
    assert again.rows == live.rows


_NEVER_MS = 10**15
_TOPICS = {UNREADABLE: "profiles", REMOVED: "profiles", BROADCAST: BROADCASTS.name}


def _value(fact: UserRecord) -> bytes | None:
    """The record value of the fact."""
    if fact.topic == REMOVED:
        return None
    if fact.topic == UNREADABLE:
        epoch = datetime.fromtimestamp(0, UTC)
        noes = {name: {"granted": False, "time": epoch + timedelta(milliseconds=at)} for name, at in fact.body.items()}
        return orjson.dumps({"user_id": "u1", "locale": "x" * 36, "consent": noes})
    named = {"users": ["u1"]} if fact.topic == BROADCAST else {}
    return orjson.dumps(fact.body | named)


def _checkpoint(applied: list[AppliedRange], clock_ms: int) -> Checkpoint:
    clock = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=clock_ms)
    return Checkpoint(partition=0, number=1, applied=applied, clock=clock, manifest=1, control=0)


SETTLING = """
trigger: t
purpose: marketing
on: {event: ping, where: event.n > 0}
key: event.k
after: 20m
unless: {event: buy, same: k}
settle: 10m
send: a
"""
arrivals = st.lists(
    st.tuples(
        st.integers(0, 20),  # its own minute: nothing is due before the last
        st.integers(0, 9),  # how many minutes later it comes
        st.sampled_from(["ping", "ping", "buy"]),
        st.sampled_from(["x", "y"]),
        st.integers(0, 2),
    ),
    max_size=12,
    unique_by=lambda each: each[0],
)


@unhurried
@given(arrivals)
def test_the_order_of_arrival_within_settle_changes_nothing(lines: list[tuple[int, int, str, str, int]]) -> None:
    """Which sends there are, and when, for events that are not newer than what is due; an occurrence is named by the
    entry that came first."""
    profile = HistoryItem(0, "profile", properties={"zone": "UTC", "consent": ("marketing",)})
    found = []
    for late in (True, False):
        run, now = EngineHistory(evaluator_of(SETTLING), None), 0
        happenings = [profile]
        for minute, delay, name, key, n in sorted(lines, key=lambda each: each[0] + late * each[1]):
            arrives = minute + late * delay
            happening = HistoryItem((arrives - now) * duration("1m"), "event", late * delay * duration("1m"), name)
            happenings.append(replace(happening, properties={"k": key, "n": n}, number=minute))
            now = arrives
        run.play(datetime.fromisoformat("2026-01-05T10:00:00+00:00"), happenings)
        found.append([(row[0], *row[2:8]) for row in run.rows])
    assert found[0] == found[1]

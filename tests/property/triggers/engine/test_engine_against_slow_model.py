"""The engine against the slow model: drawn rules over drawn histories, the same decisions in the same order."""

from datetime import datetime, timedelta

import pytest
from drivers.examples import examples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from slow_model.compare import same_gates
from slow_model.duel import (
    EngineHistory,
    book_of,
    edited_evaluator,
    evaluator_of,
    model_rows,
    model_writes,
    rows_of,
)
from slow_model.grammar import editions, journeys, rerouted, rule_sets
from slow_model.histories import STARTS, HistoryItem, broadcast_histories, gaps, histories, strokes
from slow_model.narrow_grammar import coincidences, mixed_quiets, segment_rules, shared_caps, waiting_rules

from triggers.cel.runtime import as_ms

History = tuple[datetime, HistoryItem, list[HistoryItem]]
_LOOKS_MS = 1_800_000
_EVERY_10_S = 10_000
late = st.sampled_from([None, _LOOKS_MS])
unhurried = settings(deadline=None, max_examples=examples(30, 1_000), suppress_health_check=[HealthCheck.too_slow])


SAID = {"zone": "UTC", "consent": ("marketing",), "vip": False, "limit": 0, "trial": None, "born": None}
ONE_A_DAY = '{"policy":"one","for":{},"cap":{"max":1,"per":"1d","scope":"all"%s}}\n---\n'
LIVE = '{"trigger":"k","purpose":"marketing","on":"ping","send":"a"}\n---\n'
SHADOW = '{"trigger":"l","purpose":"marketing","mode":"shadow","on":["ping","buy"],"send":"b"}'
HELD_OUT = '{"trigger":"l","purpose":"marketing","holdout":"100%","on":["ping","buy"],"send":"b"}'
QUIET = '{"trigger":"k","purpose":"marketing","on":"ping","quiet":[%s],"expires":"3d","send":"a"}'
NIGHT = '{"from":"22:00","to":"03:00"%s}'
BEFORE_DAWN = '{"from":"02:30","to":"03:30"%s}'
DROPS = ',"over":"drop"'


SETTLES_BY_A_SCORE = (
    '{"score":"s","decay":{"curve":"exponential","half_life":"1h"},"add":{"event":"ping","points":"1"}}\n---\n'
    '{"trigger":"k","purpose":"marketing","on":"buy","settle":"10m","steps":[{"send":{"template":"a","id":"one"}},'
    '{"if":"score.s >= 0.6","then":[{"send":{"template":"b","id":"two"}}]}]}'
)
CAP_OF_AN_UNKNOWN = '{"trigger":"k","purpose":"marketing","on":"ping","cap":{"max":"user.most","per":"1d"},"send":"a"}'
LEAVES = (
    '{"score":"s","decay":{"curve":"step","lifetime":"1h"},"add":{"event":"ping","points":"1"}}\n---\n'
    '{"segment":"r","when":"%s"}\n---\n'
    '{"trigger":"l","purpose":"marketing","on":{"leaves":"r"},"send":"a"}'
)
MOVES_AS_IT_FALLS = (
    STARTS[0],
    HistoryItem(0, "profile", properties=SAID),
    [
        HistoryItem(0, "event", 0, "ping", {}),
        HistoryItem(3_600_000, "profile", properties=SAID | {"zone": "Asia/Tokyo"}),
    ],
)
"""The user moves to another zone at the very instant at which a score falls."""

LEAVES_UNDER_A_CEILING = (
    '{"score":"s","decay":{"curve":"linear","lifetime":"2h"},"add":{"event":"ping","points":"event.n"},"ceiling":4}\n---\n'
    '{"segment":"r","when":"score.s >= 1 && now > timestamp(\\"2026-01-01T00:00:00Z\\")"}\n---\n'
    '{"trigger":"l","purpose":"marketing","on":{"leaves":"r"},"send":"a"}'
)
LATE_UNDER_A_CEILING = (
    STARTS[0],
    HistoryItem(0, "profile", properties=SAID),
    [
        HistoryItem(0, "event", 0, "ping", {"n": 3}),
        HistoryItem(3_600_000, "event", 0, "ping", {"n": 1}),
        HistoryItem(1_800_000, "event", 5_400_000, "ping", {"n": 8}),
    ],
)

CROSSED_BEFORE_IT_CAME = (
    '{"trigger":"k","purpose":"marketing","on":{"event":"ping","inactive":"30m"},"send":"a"}\n---\n'
    '{"trigger":"l","purpose":"marketing","on":{"event":"ping","within":"30m","reaches":1},"send":"b"}'
)
THEN_ONE_THAT_NO_RULE_READS = (
    STARTS[0],
    HistoryItem(0, "profile", properties=SAID),
    [HistoryItem(1_800_000, "event", 3_600_000, "ping"), HistoryItem(0, "event", 0, "buy")],
)
"""The first event comes so late that its level has fallen already; at that same instant comes one of another type."""


def events_of(*names: str, gap_ms: int = 60_000) -> History:
    """A user with consent from a midnight on, and events of these types one after the other."""
    happenings = [HistoryItem(gap_ms, "event", 0, name, {}) for name in names]
    return STARTS[0], HistoryItem(0, "profile", properties=SAID), happenings


def duel(text: str, history: History, every_ms: int | None) -> None:
    start, profile, happenings = history
    run = EngineHistory(evaluator_of(text), every_ms)
    run.play(start, [profile, *happenings])
    writes = model_writes(run, book_of(text))
    decisions = writes.decisions
    assert run.rows == rows_of(decisions)
    assert run.data == [command["data"] for command in writes.commands]
    for decision, written in zip(decisions, run.gates, strict=True):
        assert same_gates(decision["gates"], written), (decision["gates"], written)


@unhurried
@example(CAP_OF_AN_UNKNOWN, events_of("ping"))
@example(SETTLES_BY_A_SCORE, events_of("buy", "ping"))
@example(LEAVES % "score.s >= 0.6", MOVES_AS_IT_FALLS)
@example(LEAVES % 'score.s >= 0.6 && now > timestamp(\\"2026-01-01T00:00:00Z\\")', MOVES_AS_IT_FALLS)
@given(rule_sets(), histories)
def test_timers_at_their_instants_give_what_the_slow_model_says(text: str, history: History) -> None:
    duel(text, history, None)


@unhurried
@given(rule_sets(), histories)
def test_timers_that_come_late_give_what_the_slow_model_says(text: str, history: History) -> None:
    duel(text, history, _LOOKS_MS)


@unhurried
@example(ONE_A_DAY % "" + LIVE + SHADOW, events_of("ping", "buy"), None)
@example(ONE_A_DAY % "" + LIVE + SHADOW, events_of("buy", "ping", "ping"), None)
@example(ONE_A_DAY % "" + LIVE + HELD_OUT, events_of("ping", "buy"), None)
@example(ONE_A_DAY % ',"over":"defer"' + LIVE + SHADOW, events_of("ping", "buy"), _LOOKS_MS)
@given(shared_caps(), histories, late)
def test_what_is_only_recorded_is_capped_as_if_it_were_sent(text: str, history: History, every_ms: int | None) -> None:
    duel(text, history, every_ms)


@unhurried
@example(QUIET % f"{NIGHT % ''},{BEFORE_DAWN % DROPS}", events_of("ping"), None)
@example(QUIET % f"{NIGHT % ''},{BEFORE_DAWN % DROPS}", events_of("ping"), _LOOKS_MS)
@example(QUIET % f"{NIGHT % DROPS},{BEFORE_DAWN % ''}", events_of("ping", gap_ms=9_600_000), None)
@example(QUIET % f"{NIGHT % ''},{BEFORE_DAWN % ''}", events_of("ping"), None)
@given(mixed_quiets(), histories, late)
def test_periods_that_defer_and_periods_that_drop_meet(text: str, history: History, every_ms: int | None) -> None:
    duel(text, history, every_ms)


@unhurried
@given(rule_sets(), histories, st.integers(1, 6), st.sampled_from([None, _LOOKS_MS, _EVERY_10_S]))
def test_events_before_the_first_profile_give_what_the_slow_model_says(
    text: str, history: History, number: int, every_ms: int | None
) -> None:
    start, profile, happenings = history
    run = EngineHistory(evaluator_of(text), every_ms)
    if every_ms == _EVERY_10_S:  # nine days of such looks are 78,000; what waits for a profile waits for 30 s
        run.after = timedelta(hours=6)
    run.play(start, [*happenings[:number], profile, *happenings[number:]])
    assert run.rows == model_rows(run, book_of(text))


@unhurried
@example(CROSSED_BEFORE_IT_CAME, THEN_ONE_THAT_NO_RULE_READS, _LOOKS_MS)
@given(coincidences(), strokes, late)
def test_a_level_has_not_dipped_where_an_event_leaves_as_another_comes(
    text: str, history: History, every_ms: int | None
) -> None:
    duel(text, history, every_ms)


@unhurried
@example(LEAVES_UNDER_A_CEILING, LATE_UNDER_A_CEILING, None)
@given(segment_rules(), st.one_of(histories, strokes), late)
def test_segments_move_when_what_they_read_moves(text: str, history: History, every_ms: int | None) -> None:
    duel(text, history, every_ms)


@unhurried
@given(journeys(), histories, late)
def test_journeys_wait_for_events_as_the_slow_model_says(text: str, history: History, every_ms: int | None) -> None:
    duel(text, history, every_ms)


@unhurried
@given(waiting_rules(), broadcast_histories, late)
def test_events_without_a_user_meet_what_waits_for_them(text: str, history: History, every_ms: int | None) -> None:
    duel(text, history, every_ms)


@unhurried
@given(editions(), histories, gaps, st.integers(0, 6), late)
def test_an_edited_rule_leaves_what_runs_as_the_slow_model_says(
    texts: tuple[str, str], history: History, gap_ms: int, number: int, every_ms: int | None
) -> None:
    start, profile, happenings = history
    happenings.insert(min(number, len(happenings)), HistoryItem(gap_ms, "edit"))
    edited(texts, (start, profile, happenings), every_ms)


MET = (
    '{"trigger":"k","purpose":"marketing","on":"ping",%s"steps":[{"wait_for":"buy","up_to":"%s","then":[{"wait":"%s"},'
    '{"send":{"template":"a","id":"one"}}],"else":[{"send":{"template":"b","id":"two"}}]}]}'
)
FOLLOWS = '"on_edit":"follow",'


@unhurried
@example((MET % ("", "1h", "10m"), MET % (FOLLOWS, "1h", "30m")), events_of("ping", "buy"), 60_000, 2, None)
@example((MET % ("", "1h", "10m"), MET % (FOLLOWS, "1m", "10m")), events_of("ping", "buy", gap_ms=90_000), 1, 2, None)
@given(rerouted(), histories, gaps, st.integers(0, 6), late)
def test_what_follows_an_edit_stands_where_the_slow_model_says(
    texts: tuple[str, str], history: History, gap_ms: int, number: int, every_ms: int | None
) -> None:
    start, profile, happenings = history
    happenings.insert(min(number, len(happenings)), HistoryItem(gap_ms, "edit"))
    edited(texts, (start, profile, happenings), every_ms)


HELD = '{"trigger":"k","purpose":"marketing","on":"ping","quiet":{"from":"20:00","to":"07:00"},"send":"a"}\n---\n'
OTHER = '{"trigger":"l","purpose":"marketing","on":"buy","send":"b"}'


@pytest.mark.parametrize("after", [OTHER, HELD.replace("07:00", "06:00") + OTHER], ids=["removed", "edited"])
@pytest.mark.parametrize("every_ms", [None, _LOOKS_MS])
def test_occurrences_of_an_earlier_text_are_scheduled_again_when_the_user_moves(
    after: str, every_ms: int | None
) -> None:
    minutes = 60_000
    moved = HistoryItem(15 * minutes, "profile", properties={**SAID, "zone": "Pacific/Auckland"})
    happenings = [HistoryItem(minutes, "event", 0, "ping", {}), HistoryItem(5 * minutes, "edit"), moved]
    edited((HELD + OTHER, after), (STARTS[0], HistoryItem(0, "profile", properties=SAID), happenings), every_ms)


@pytest.mark.parametrize("every_ms", [None, _LOOKS_MS])
def test_a_wait_of_a_rule_that_was_taken_away_follows_no_profile(every_ms: int | None) -> None:
    waiting = '{"trigger":"k","purpose":"marketing","on":"ping","after":{"every":"day","at":"00:00"},"send":"a"}\n---\n'
    moved = HistoryItem(0, "profile", properties={**SAID, "zone": "Europe/Berlin"})
    happenings = [HistoryItem(0, "event", 0, "ping", {}), HistoryItem(0, "edit"), moved]
    edited((waiting + OTHER, OTHER), (STARTS[0], HistoryItem(0, "profile", properties=SAID), happenings), every_ms)


@pytest.mark.parametrize("instant", ["2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00.5Z"])
def test_a_yearly_date_of_its_own_year_is_its_exact_instant_where_local_time_comes_twice(instant: str) -> None:
    source = '{"date":"timestamp(user.trial)","after":"1h","yearly":true,"zone":"Europe/Berlin"}'
    text = f'{{"trigger":"k","purpose":"marketing","on":{source},"send":"a"}}'
    profile = HistoryItem(0, "profile", properties={**SAID, "trial": instant})
    run = EngineHistory(evaluator_of(text), None)
    run.play(STARTS[2], [profile, HistoryItem(60_000, "event", 0, "buy", {})])
    decided = as_ms(datetime.fromisoformat(instant)) + 3_600_000
    assert [row[5] for row in run.rows] == [row[5] for row in model_rows(run, book_of(text))] == [decided]


OF_ONE = '{"event":"buy","same":"k"}'
ENDED = '{"trigger":"k","purpose":"marketing","on":"ping","after":"1h","unless":%s,"send":"a"}\n---\n'


@pytest.mark.parametrize("entry", ["x", "y"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (OF_ONE, OF_ONE.replace("}", ',"where":"true"}')),
        (OF_ONE, '"buy"'),
        (OF_ONE, '"view"'),
        (OF_ONE, '{"event":"buy","same":"n"}'),
        ('"buy"', OF_ONE),
        (f'["view",{OF_ONE}]', OF_ONE),
        (OF_ONE, f'["view",{OF_ONE}]'),
    ],
)
def test_an_unless_event_counts_by_the_rules_that_it_came_under(before: str, after: str, entry: str) -> None:
    """The `unless` event came, then the rule was edited, then came an entry that is not newer."""
    ended = HistoryItem(60_000, "event", 0, "buy", {"k": "x"})
    happenings = [ended, HistoryItem(0, "edit"), HistoryItem(0, "event", 0, "ping", {"k": entry})]
    history = (STARTS[0], HistoryItem(0, "profile", properties=SAID), happenings)
    edited((ENDED % before + OTHER, ENDED % after + OTHER), history, None)


def edited(texts: tuple[str, str], history: History, every_ms: int | None) -> None:
    """Plays the history, in which the second text takes the first one's place."""
    start, profile, happenings = history
    run = EngineHistory(evaluator_of(texts[0]), every_ms)
    run.edited = edited_evaluator(*texts)
    run.play(start, [profile, *happenings])
    assert run.rows == model_rows(run, *map(book_of, texts))

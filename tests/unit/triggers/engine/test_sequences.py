"""Sequences: in the listed order, within a time, each event used once; compared with a search of all choices."""

from itertools import pairwise, permutations
from typing import Any

import pytest
from drivers.trigger_world import MINUTE, World, at, event, rules
from drivers.user_states import contents
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.cases.backtest import backtest
from triggers.cases.case_runner import run_cases
from triggers.engine.sequences import MAX_LAST, MAX_LINKS, earliest_chain
from triggers.language.diagnostics import InvalidRules
from triggers.rules.encoding import decode, encode
from triggers.rules.rule import Pattern, Sequence
from triggers.rules.state import Link

PAIR = (
    "trigger: t\npurpose: marketing\non: {sequence: [view, buy], within: 1h}\nsend: {template: a, data: {n: event.n}}\n"
)
SAME = PAIR.replace("within: 1h", "within: 1h, same: k")


def played(text: str, *events: tuple[str, str], **world_options: Any) -> World:
    """A world in which events happen on one day, each named and at its time of day; `n` is its number."""
    world = World(text, **world_options)
    for number, (moment, name) in enumerate(events, 1):
        world.event(f"2026-01-05 {moment}", name, n=number)
    return world


def test_events_in_order_begin_at_the_last_and_others_may_lie_between() -> None:
    world = played(PAIR, ("10:00", "view"), ("10:10", "ping"), ("10:20", "buy"))
    assert world.sent == [("2026-01-05 10:20:00", "t", "a")]
    assert world.decisions[0].occurrence == '["e3"]'
    assert world.commands[0].data == {"n": 3}


def test_events_in_another_order_do_not_complete_a_sequence() -> None:
    assert played(PAIR, ("10:00", "buy"), ("10:10", "view")).sent == []


@pytest.mark.parametrize(("last", "count"), [("10:59:59.999", 1), ("11:00", 0)])
def test_within_is_open_at_its_old_end_as_every_window(last: str, count: int) -> None:
    assert len(played(PAIR, ("10:00", "view"), (last, "buy")).sent) == count


def test_each_event_is_used_once() -> None:
    world = played(PAIR, ("10:00", "view"), ("10:10", "buy"), ("10:20", "buy"), ("10:30", "view"), ("10:40", "buy"))
    assert [c.data["n"] for c in world.commands] == [2, 5]


def test_of_several_choices_the_earliest_are_used_so_that_most_sequences_are_found() -> None:
    world = played(PAIR, ("10:00", "view"), ("10:50", "view"), ("10:55", "buy"), ("11:10", "buy"))
    assert [c.data["n"] for c in world.commands] == [3, 4]


@pytest.mark.parametrize("names", [("view", "buy"), ("buy", "view")])
def test_7_equal_times_count_in_the_listed_order_whichever_comes_first(names: tuple[str, str]) -> None:
    world = played(PAIR, ("10:00", names[0]), ("10:00", names[1]))
    assert world.sent == [("2026-01-05 10:00:00", "t", "a")]
    assert world.commands[0].data == {"n": names.index("buy") + 1}


def test_an_earlier_event_that_arrives_late_completes_the_sequence() -> None:
    world = World(PAIR)
    world.event("2026-01-05 10:20", "buy", n=1)
    world.event("2026-01-05 10:00", "view", arrives="2026-01-05 10:30", n=2)
    assert world.sent == [("2026-01-05 10:30:00", "t", "a")]
    assert (world.decisions[0].occurrence, world.commands[0].data) == ('["e1"]', {"n": 1})


def test_a_sequence_whose_last_event_is_too_old_begins_nothing() -> None:
    world = World(PAIR + "max_age: 10m\n")
    world.event("2026-01-05 10:00", "view", n=1)
    world.event("2026-01-05 10:20", "buy", arrives="2026-01-05 10:31", n=2)
    assert (world.sent, world.counts) == ([], {"stale": 1})


def test_events_are_grouped_by_the_fields_that_must_be_the_same() -> None:
    world = World(SAME)
    world.event("2026-01-05 10:00", "view", k="x", n=1)
    world.event("2026-01-05 10:10", "buy", k="y", n=2)
    world.event("2026-01-05 10:20", "buy", n=3)
    world.event("2026-01-05 10:30", "buy", k="x", n=4)
    assert [c.data["n"] for c in world.commands] == [4]


def test_where_is_evaluated_for_each_event_on_arrival() -> None:
    text = PAIR.replace("[view, buy]", "[{event: view, where: event.n > 1}, {event: [buy, take], where: event.n < 4}]")
    world = played(text, ("10:00", "view"), ("10:01", "buy"), ("10:02", "view"), ("10:03", "take"), ("10:04", "buy"))
    assert world.sent == []
    world = played(text, ("10:00", "view"), ("10:02", "view"), ("10:03", "take"), ("10:04", "buy"))
    assert [c.data["n"] for c in world.commands] == [3]


def test_one_event_may_stand_at_any_place_but_only_at_one() -> None:
    world = played(PAIR.replace("[view, buy]", "[view, view, view]"), *[(f"10:0{n}", "view") for n in range(7)])
    assert [c.data["n"] for c in world.commands] == [3, 6]


def test_unless_at_the_entry_s_instant_counts_for_sequences_too() -> None:
    world = played(PAIR + "unless: stop\n", ("10:00", "view"), ("10:10", "stop"), ("10:10", "buy"))
    assert (world.sent, world.counts) == ([], {"ended_before_entry": 1})


def test_a_rule_that_begins_at_the_last_event_too_begins_once() -> None:
    world = played(PAIR.replace("on: {", "on: [buy, {").replace("1h}", "1h}]"), ("10:00", "view"), ("10:10", "buy"))
    assert world.decided == [("2026-01-05 10:10:00", "send")]


def test_an_edited_sequence_starts_without_events_of_the_old_one() -> None:
    world = played(PAIR, ("10:00", "view"))
    world.evaluator.rules = rules(PAIR.replace("1h", "2h"))
    world.event("2026-01-05 10:10", "buy", n=2)
    assert world.sent == []
    assert len(world.state.links) == 1


def test_events_that_can_no_longer_complete_a_sequence_are_removed() -> None:
    world = World(PAIR + "max_age: 1h\n")
    for number in range(200):
        world.event(at("2026-01-05 10:00") + number, "buy", n=number)
    [links] = world.state.links.values()
    assert len(links) == MAX_LAST
    for number in range(200):
        world.event(at("2026-01-05 10:01") + number, "view", n=number)
    [links] = world.state.links.values()
    assert len(links) == MAX_LINKS
    world.event("2026-01-05 12:01:00.199", "buy", n=0)
    [links] = world.state.links.values()
    assert len(links) == 1


def test_values_too_long_to_group_by_are_reported() -> None:
    world = World(SAME)
    world.event("2026-01-05 10:00", "view", k="x" * 600)
    assert [(p.trigger, p.place) for p in world.problems] == [("t", "same")]
    assert world.state.links == {}


def test_a_case_of_a_sequence_passes() -> None:
    text = PAIR + (
        "cases:\n  - name: a purchase after a look\n"
        "    given: [{at: '10:00', view: {n: 1}}, {at: '10:30', buy: {n: 2}}]\n"
        "    expect: [{at: '10:30', send: a}]\n"
    )
    [result] = run_cases(rules(text))
    assert result.diff == ()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{sequence: [view], within: 1h}", "4:16: invalid-value a sequence has 2 to 8 events"),
        ("{sequence: view, within: 1h}", "4:16: wrong-type sequence takes a list of events, not `view`"),
        ("{sequence: [view, buy]}", "4:5: missing-key missing key `within` in on"),
        ("{sequence: [view, {event: buy, same: k}], within: 1h}", "4:36: not-yet"),
        ("{sequence: [view, buy], within: calendar day}", "4:37: invalid-duration within: `calendar day`"),
        ("{sequence: [view, buy], within: 1h, where: event.n > 1}", "4:41: unknown-key unknown key `where` in on"),
    ],
)
def test_an_invalid_sequence_is_reported_at_its_place(source: str, expected: str) -> None:
    with pytest.raises(InvalidRules) as caught:
        rules(f"\ntrigger: t\npurpose: marketing\non: {source}\nsend: a\n")
    first = caught.value.diagnostics[0]
    assert f"{first.line}:{first.column}: {first.code} {first.message}".startswith(expected)


def chains(links: list[Link], newest: Link, count: int, within: int) -> list[tuple[Link, ...]]:
    """Every choice that is a sequence with the newest in it."""
    return [
        chosen
        for chosen in permutations(links, count)
        if newest in chosen
        and all(number in link.numbers for number, link in enumerate(chosen))
        and all(a.time_ms <= b.time_ms for a, b in pairwise(chosen))
        and chosen[-1].time_ms - chosen[0].time_ms < within
    ]


histories = st.lists(st.tuples(st.integers(0, 6), st.frozensets(st.integers(0, 2), min_size=1)), min_size=1, max_size=7)


@settings(max_examples=150, deadline=None)
@given(histories, st.integers(2, 3), st.integers(1, 5))
def test_sequences_are_those_that_a_search_of_all_choices_finds(
    history: list[tuple[int, frozenset[int]]], count: int, within: int
) -> None:
    sequence = Sequence(tuple(Pattern((str(n),)) for n in range(count)), within)
    unused: list[Link] = []
    for number, (time_ms, kinds) in enumerate(history):
        numbers = sorted(kind for kind in kinds if kind < count)
        newest = Link(time_ms, f"e{number}", numbers, [], None)
        if not numbers:
            continue
        unused.append(newest)
        expected = min(
            chains(unused, newest, count, within), key=lambda chain: [(e.time_ms, e.id) for e in chain], default=None
        )
        found = earliest_chain(unused, newest, sequence)
        assert (found and tuple(found)) == expected
        unused = [each for each in unused if expected is None or each not in expected]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from(["view", "buy", "ping"]), st.sampled_from("xy"))))
def test_state_in_between_as_bytes_changes_nothing(history: list[tuple[int, str, str]]) -> None:
    straight, recoded = World(SAME), World(SAME)
    for minutes, name, key in history:
        for world in (straight, recoded):
            world.event(world.now + minutes * MINUTE, name, k=key, n=minutes)
        recoded.state = decode("u1", encode(recoded.state)[0])
    assert contents(straight.state) == contents(recoded.state)
    assert straight.decisions == recoded.decisions


@pytest.mark.parametrize("last_ms", [4, 5])
def test_a_hostile_history_is_searched_in_bounded_time(last_ms: int) -> None:
    """Many events of one instant that may each stand at several places, and too few for the last two."""
    sequence = Sequence(tuple(Pattern((str(n),)) for n in range(8)), 10)
    kinds = [sorted({n % 6, (n * 3 + 1) % 6, (n // 7) % 6}) for n in range(62)]
    links = [Link(5, f"e{n}", kind, [], None) for n, kind in enumerate(kinds)]
    only = Link(last_ms, "only", [6, 7], [], None)
    assert earliest_chain([*links, only], only, sequence) is None


def test_forgotten_sequence_events_are_counted_by_rule_and_a_backtest_notes_them() -> None:
    text = "trigger: t\npurpose: marketing\non: {sequence: [view, drop], within: 30d, same: sku}\nsend: a\n"
    viewed = [event("view", at("2026-01-05 10:00") + n, f"v{n}", sku=f"s{n}") for n in range(66)]
    result = backtest(rules(text), viewed)
    assert result.forgotten == {("t", "sequence events"): 2}
    why = "because a user had more than the 64 (or 16 that may end the sequence) that are kept"
    assert f"t: forgot sequence events 2 times, {why}" in result.notes

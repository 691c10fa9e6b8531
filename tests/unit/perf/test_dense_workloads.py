"""Workloads in which every event counts: each changes state, and work by hand and the trigger core send the same."""

from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from perf.dense_workloads import ALL_COUNT_TYPES, AllCountWorkload, EveryEventWorkload
from perf.jobs import EVERY_EVENT_POINTS, EveryEventJob
from perf.parts import HISTORY_EVENTS
from perf.rulesets import EVERY_EVENT, TWENTY_ALL_COUNT
from perf.workloads import DISTRIBUTIONS, Distribution, Workload
from schemas.codec import decode
from schemas.events import Event
from schemas.profiles import Profile
from triggers.cases.backtest import BacktestResult, backtest
from triggers.measures.shapes import MS
from triggers.rules.routes import Route
from triggers.rules.ruleset import RuleSet

NOW_MS = 1_790_000_000_000
EVENTS, USERS = 20_000, 2_000


def events_of(workload: Workload) -> list[Event]:
    return [decode(Event, value) for _, value in workload.records()]


def profiles_of(workload: Workload) -> dict[str, Profile]:
    return {key.decode(): decode(Profile, value) for key, value in workload.profiles()}


@cache
def all_count(distribution: Distribution) -> BacktestResult:
    workload = AllCountWorkload(EVENTS, USERS, distribution, 1, NOW_MS)
    return backtest(TWENTY_ALL_COUNT.read().load(), events_of(workload), profiles_of(workload), order="given")


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_rule_of_every_event_sends_what_the_work_by_hand_sends(distribution: Distribution) -> None:
    workload, job = EveryEventWorkload(EVENTS, USERS, distribution, 1, NOW_MS), EveryEventJob()
    changed = [job.apply(key, value, NOW_MS + workload.span_ms)[0] for key, value in workload.records()]
    assert len(changed) == EVENTS
    assert all(changed)
    found = backtest(EVERY_EVENT.read().load(), events_of(workload), profiles_of(workload), order="given")
    assert found.sends_by_trigger() == {"hot": job.sends}
    assert {reason for _, outcome, reason in found.decisions if outcome == "drop"} == {"condition", "cap"}


@pytest.mark.parametrize("late_ms", [0, 1_000, MS["h"], 23 * MS["h"]])
def test_the_number_of_sends_does_not_depend_on_the_clock_within_a_day(late_ms: int) -> None:
    """One contender decides by append time and another by stream time, so their clocks differ."""
    workload = EveryEventWorkload(EVENTS, USERS, "uniform", 1, NOW_MS)
    by_event_time, by_clock = EveryEventJob(), EveryEventJob()
    for number, (key, value) in enumerate(workload.records()):
        by_event_time.apply(key, value, NOW_MS + number * workload.span_ms // EVENTS)
        by_clock.apply(key, value, NOW_MS + workload.span_ms + late_ms)
    assert by_clock.sends == by_event_time.sends > USERS / 2


def test_the_rule_by_hand_wants_more_than_eight_and_writes_once_a_day() -> None:
    job = EveryEventJob()

    def outcomes(*events: tuple[str, int]) -> list[str]:
        written = []
        for number, (kind, at_ms) in enumerate(events):
            workload = replace(EveryEventWorkload(1, 10, start_ms=NOW_MS + at_ms), seed=number)
            _, value = next(workload.records())
            event = decode(Event, value).model_copy(update={"type": kind, "user_id": "a"})
            _, outputs = job.apply(b"a", event.model_dump_json().encode(), NOW_MS + at_ms)
            written += [topic for topic, _ in outputs]
        return written

    assert outcomes(("order_completed", 0), ("cart_updated", 0)) == ["decisions"]
    assert outcomes(("page_viewed", 0), ("cart_updated", 0)) == ["decisions", "commands"]
    assert outcomes(("cart_updated", MS["d"] - 1)) == ["decisions"]
    assert outcomes(("cart_updated", MS["d"])) == ["decisions", "commands"]


@pytest.mark.parametrize("kind", [EveryEventWorkload, AllCountWorkload])
def test_every_event_is_of_a_type_that_the_rules_read_and_types_are_drawn_evenly(kind: type[Workload]) -> None:
    types = {EveryEventWorkload: tuple(EVERY_EVENT_POINTS), AllCountWorkload: ALL_COUNT_TYPES}[kind]
    counted = Counter(what.type for what in kind(EVENTS, USERS, "zipf", 1, NOW_MS).events_in_order())
    assert counted.keys() == set(types)
    assert min(counted.values()) > 0.9 * EVENTS / len(types)


def test_a_history_shares_no_event_id_with_what_follows() -> None:
    first = AllCountWorkload(500, 50, "uniform", 1, NOW_MS)
    history = replace(first, seed=1_001)
    assert not {event.id for event in events_of(first)} & {event.id for event in events_of(history)}


def rules_touched(rules: RuleSet, route: Route) -> set[str]:
    """The triggers of which an event of the route's type changes what a state keeps for them."""
    scores = {addition.score.name for addition in route.additions}
    levels = {level.trigger.name for level in route.crossings}
    levels |= {level.trigger.name for name in scores for level in rules.levels_of[name]}
    begun = {trigger.name for trigger, _ in route.begins}
    return levels | begun | {trigger.name for trigger, _ in route.unless_events}


def test_each_event_of_twenty_all_count_touches_two_or_three_rules() -> None:
    rules = TWENTY_ALL_COUNT.read().load()
    touched = {
        name: len(rules_touched(rules, route)) for name, route in rules.routes.items() if name in ALL_COUNT_TYPES
    }
    assert touched.keys() == set(ALL_COUNT_TYPES)
    assert set(touched.values()) == {2, 3}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_twenty_all_count_decides_for_a_few_percent_and_most_rules_wait_or_send(distribution: Distribution) -> None:
    found = all_count(distribution)
    assert not found.problems
    assert 0.005 < found.sends_by_trigger().total() / EVENTS < 0.04
    assert len(found.sends_by_trigger()) >= 12


def test_users_with_a_history_have_64_ids_ten_open_windows_and_three_running_occurrences() -> None:
    users = 200
    history = AllCountWorkload(users * HISTORY_EVENTS, users, "uniform", 1_001, NOW_MS)
    found = backtest(TWENTY_ALL_COUNT.read().load(), events_of(history), profiles_of(history), order="given")
    states = [found.state(user) for user in found.states]
    assert sum(len(state.seen) == 64 for state in states) > 0.9 * users
    assert sum(len(state.windows) == 10 for state in states) > 0.9 * users
    assert sum(len(state.running) for state in states) > 3 * users

"""What the measurements feed: the shares they promise, and that work by hand and the trigger core agree on them."""

from collections import Counter
from functools import cache

import pytest

from perf.jobs import RuleJob
from perf.rulesets import EVERY_EVENT, HUNDRED, ONE, TWENTY, TWENTY_ALL_COUNT, BenchRules
from perf.workloads import DISTRIBUTIONS, MATCHING, Distribution, Workload
from schemas.codec import decode
from schemas.events import Event
from schemas.profiles import Profile
from triggers.cases.backtest import BacktestResult, backtest
from triggers.rules.encoding import due_of

NOW_MS = 1_790_000_000_000
EVENTS, USERS = 40_000, 4_000


def workload(distribution: Distribution, seed: int = 1, events: int = EVENTS) -> Workload:
    return Workload(events, USERS, distribution, seed, NOW_MS)


@cache
def facts(distribution: Distribution) -> tuple[list[Event], dict[str, Profile]]:
    """A workload's events and profiles, decoded once for all tests."""
    fed = workload(distribution)
    events = [decode(Event, value) for _, value in fed.records()]
    return events, {key.decode(): decode(Profile, value) for key, value in fed.profiles()}


def decided_by_the_core(distribution: Distribution, rules: BenchRules) -> BacktestResult:
    events, profiles = facts(distribution)
    return backtest(rules.read().load(), events, profiles, order="given")


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_five_percent_match_and_one_percent_send(distribution: Distribution, seed: int) -> None:
    fed, job = workload(distribution, seed, events=100_000), RuleJob()
    matched = sum(job.apply(key, value, NOW_MS + fed.span_ms)[0] for key, value in fed.records())
    assert matched / fed.events == pytest.approx(0.05, abs=0.003)
    assert job.sends / fed.events == pytest.approx(0.01, abs=0.0012)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_one_rule_sends_what_the_work_by_hand_sends(distribution: Distribution) -> None:
    fed, job = workload(distribution), RuleJob()
    for key, value in fed.records():
        job.apply(key, value, NOW_MS + fed.span_ms)
    found = decided_by_the_core(distribution, ONE)
    assert found.sends_by_trigger() == {"keen": job.sends}
    assert {reason for _, outcome, reason in found.decisions if outcome == "drop"} == {"condition", "cap"}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_twenty_rules_send_for_one_percent_too_and_most_of_them_do(distribution: Distribution) -> None:
    found = decided_by_the_core(distribution, TWENTY)
    assert found.sends_by_trigger().total() / EVENTS == pytest.approx(0.01, abs=0.002)
    assert len(found.sends_by_trigger()) >= 12
    assert not found.problems
    waiting = sum(due_of(raw) is not None for raw in found.states.values())
    assert waiting > USERS / 20  # delays that are still to come


@pytest.mark.parametrize("rules", [ONE, TWENTY, HUNDRED, EVERY_EVENT, TWENTY_ALL_COUNT], ids=lambda rules: rules.name)
def test_a_set_of_rules_has_the_number_of_triggers_that_it_says(rules: BenchRules) -> None:
    assert len(rules.read().load().triggers) == rules.count


def test_zipf_is_skewed_and_uniform_is_not() -> None:
    busiest = {
        d: Counter(what.user for what in workload(d).events_in_order()).most_common(1)[0][1] for d in DISTRIBUTIONS
    }
    assert busiest["zipf"] > 0.05 * EVENTS
    assert busiest["uniform"] < 0.002 * EVENTS


def test_the_same_fields_give_the_same_bytes_and_another_seed_others() -> None:
    first = list(workload("zipf", seed=1, events=2_000).records())
    assert first == list(workload("zipf", seed=1, events=2_000).records())
    assert first != list(workload("zipf", seed=2, events=2_000).records())


def test_every_event_and_profile_is_what_its_topic_carries_under_its_users_key() -> None:
    fed = workload("uniform", events=2_000)
    events = [(key, decode(Event, value)) for key, value in fed.records()]
    assert all(key.decode() == event.user_id for key, event in events)
    assert len({event.id for _, event in events}) == fed.events
    assert {len(event.properties) for _, event in events} <= {3, 4, 5}
    assert any(event.type in MATCHING for _, event in events)
    profiles = [(key, decode(Profile, value)) for key, value in fed.profiles()]
    assert len(profiles) == USERS
    assert all(key.decode() == profile.user_id and profile.consent["marketing"].granted for key, profile in profiles)

"""The engine's benchmark feeds what it says: shares of events that match and send, and candidates by type."""

import re
from collections import Counter

import pytest

from perf.engine_loop import START_MS, EnginePartition, backtest_per_s, measure
from perf.engine_rules import MOST, EngineWorkload, candidates, rule_texts
from triggers.loader import load_rules


@pytest.mark.parametrize(("rules", "wanted"), [(1, 1), (20, 1), (200, 4), (1_000, 5)])
def test_each_type_of_event_is_read_by_two_percent_of_the_rules_and_five_at_most(rules: int, wanted: int) -> None:
    assert candidates(rules) == wanted <= MOST
    read = Counter(name for file in rule_texts(rules) for name in set(re.findall(r"event_\d+", file.text)))
    assert max(read.values()) == wanted
    load_rules(rule_texts(rules), {"plain": "h"})


def test_one_event_in_twenty_changes_a_state() -> None:
    point = measure(20, zipf=False, events=20_000, users=5_000, profiled=False)
    assert point.matched == pytest.approx(0.05, abs=0.015)
    assert 0 < point.sent < point.decided
    assert point.users_changed > 500


def test_the_same_crowd_gives_the_same_states() -> None:
    def states() -> dict[bytes, bytes]:
        partition = EnginePartition(load_rules(rule_texts(20), {"plain": "h"}))
        partition.read(list(EngineWorkload(5_000, 500, True, 20, START_MS).records()))
        return partition.states

    assert states() == states() != {}


def test_a_backtest_is_timed_over_the_same_events() -> None:
    assert backtest_per_s(20, events=2_000, users=500) > 0

"""Conditions measured beside CEL in Rust: both sides give the same answers, and each has a rate."""

import orjson
import pytest

from perf.bench_conditions import CONDITIONS, CONVERTED, OURS, PREPARED, measure
from perf.engine_loop import START_MS
from perf.engine_rules import EngineWorkload


@pytest.mark.parametrize("condition", CONDITIONS)
def test_each_implementation_gives_the_same_answers_and_a_rate(condition: str) -> None:
    events = [orjson.loads(value) for _, _, value in EngineWorkload(300, 50, False, 20, START_MS).records()]

    rates = measure(condition, events, 1)

    assert [rate.implementation for rate in rates] == [OURS, CONVERTED, PREPARED]
    assert all(rate.per_s > 0 for rate in rates)

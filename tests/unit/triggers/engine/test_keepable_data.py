"""The value of an expression is sent only if delivery can store it."""

import pytest
from drivers.trigger_world import World, at

from schemas.vocabulary import DecisionOutcome, Reason

RULES = """
trigger: t
purpose: transactional
on: ping
send: {template: a, data: {x: %s}}
"""


@pytest.mark.parametrize(
    ("expression", "levels", "kept"),
    [
        ("event.tree", 98, True),
        ("'[event.tree]'", 97, True),
        ("'[event.tree]'", 98, False),
        ("'\"a\\u0000\"'", 1, False),
        ("'{\"\\u0000\": 1}'", 1, False),
        ("'\"a\\\\u0000\"'", 1, True),
    ],
)
def test_data_that_delivery_could_not_keep_is_invalid(expression, levels, kept):
    tree: list = []
    for _ in range(levels - 1):
        tree = [tree]
    effects = World(RULES % expression).event(at("2026-01-05 10:00"), "ping", tree=tree)
    (decision,) = effects.decisions
    if kept:
        assert decision.outcome is DecisionOutcome.SEND
    else:
        assert (decision.outcome, decision.reason) == (DecisionOutcome.DROP, Reason.INVALID_DATA)
        assert decision.inputs["path"] == "data.x"

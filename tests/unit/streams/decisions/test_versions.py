"""Which rules and switches a worker decides by: the newest it was handed, and none older than it ever applied."""

import pytest

from infra.kafka.connection import Connection
from schemas.zones import RELEASE
from streams.app import DecisionSteps
from streams.decisions.rulefeed import PublishedRules
from streams.faust.runtime import Runtime
from streams.faust.settings import RuntimeSettings
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules

RULE = """
trigger: hello
purpose: transactional
on: signed_up
send: hello
"""


@pytest.fixture
def deciding() -> DecisionSteps:
    """Of a worker that talks to nobody."""
    settings = RuntimeSettings("test", "0", Connection("127.0.0.1:1"), ("events",), 1)
    return DecisionSteps(Runtime(settings), "UTC")


def published(manifest: int, control: int, *paused: str) -> PublishedRules:
    rules = load_rules([SourceFile("hello.yaml", RULE)], {"hello": "hash"})
    return PublishedRules(rules, manifest, control, frozenset(paused))


def test_a_worker_is_not_ready_before_there_are_rules(deciding):
    assert not deciding.ready({})
    deciding.adopt(published(1, 0))
    assert deciding.ready({})


@pytest.mark.parametrize(
    ("applied", "ready"),
    [
        ({"manifest": 4, "control": 7}, True),
        ({"manifest": 3, "control": 2}, True),
        ({"manifest": 4}, True),
        ({"manifest": 5, "control": 7}, False),
        ({"manifest": 4, "control": 8}, False),
    ],
)
def test_a_worker_waits_for_rules_and_switches_no_older_than_were_applied(deciding, applied, ready):
    deciding.adopt(published(4, 7))
    assert deciding.ready(applied) is ready


def test_a_switch_is_adopted_under_the_same_rules_and_neither_number_goes_back(deciding):
    deciding.adopt(published(4, 7))
    deciding.adopt(published(4, 8, "global"))
    assert deciding.versions() == {"manifest": 4, "control": 8, "zones": RELEASE}
    for older in (published(4, 7), published(3, 9), published(5, 7)):
        deciding.adopt(older)
        assert deciding.versions() == {"manifest": 4, "control": 8, "zones": RELEASE}
    deciding.adopt(published(5, 8, "global"))
    assert deciding.versions() == {"manifest": 5, "control": 8, "zones": RELEASE}

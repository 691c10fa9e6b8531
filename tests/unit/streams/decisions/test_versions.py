"""Which rules and switches a worker decides by: the newest it was handed, and none older than it ever applied."""

import pytest

from infra.kafka.connection import Connection
from schemas.zones import RELEASE
from streams.app import DecisionProcessor
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
def processor() -> DecisionProcessor:
    """The versions of a worker without servers."""
    settings = RuntimeSettings("test", "0", Connection("127.0.0.1:1"), ("events",), 1)
    return DecisionProcessor(Runtime(settings), "UTC")


def published(manifest: int, control: int, *paused: str) -> PublishedRules:
    rules = load_rules([SourceFile("hello.yaml", RULE)], {"hello": "hash"})
    return PublishedRules(rules, manifest, control, frozenset(paused))


def test_a_worker_is_not_ready_before_there_are_rules(processor):
    assert not processor.ready({})
    processor.adopt(published(1, 0))
    assert processor.ready({})


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
def test_a_worker_waits_for_rules_and_switches_no_older_than_were_applied(processor, applied, ready):
    processor.adopt(published(4, 7))
    assert processor.ready(applied) is ready


def test_a_switch_is_adopted_under_the_same_rules_and_neither_number_goes_back(processor):
    processor.adopt(published(4, 7))
    processor.adopt(published(4, 8, "global"))
    assert processor.versions() == {"manifest": 4, "control": 8, "zones": RELEASE}
    for older in (published(4, 7), published(3, 9), published(5, 7)):
        processor.adopt(older)
        assert processor.versions() == {"manifest": 4, "control": 8, "zones": RELEASE}
    processor.adopt(published(5, 8, "global"))
    assert processor.versions() == {"manifest": 5, "control": 8, "zones": RELEASE}

"""One record in, new state and records out: what the stream does around the pure core."""

import gc
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from schemas.codec import decode, encode, partition_for
from schemas.commands import SendCommand
from schemas.deadletters import DeadLetter
from schemas.decisions import Decision
from schemas.events import Event
from schemas.profiles import Consent, Profile
from schemas.vocabulary import DeadLetterCause, DecisionOutcome
from streams.evaluate import Decider, Record, Step
from triggers.diagnostics import SourceFile
from triggers.evaluator import Evaluator
from triggers.loader import load_rules

PARTITIONS = 16
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
RULES = """
trigger: thanks
purpose: transactional
on: {event: ordered, where: event.total > 0}
send: {template: thanks, data: {order: event.order}}
---
trigger: reminder
purpose: marketing
on: looked
after: 1h
send: reminder
"""


@pytest.fixture
def decider() -> Decider:
    rules = load_rules([SourceFile("rules.yaml", RULES)], {"thanks": "hash-1", "reminder": "hash-2"})
    return Decider(Evaluator(rules))


def record(topic: str, value: bytes | None, key: bytes | None = b"u1", partition: int | None = None) -> Record:
    where = partition_for(key or b"", PARTITIONS) if partition is None else partition
    return Record(topic, where, 7, key, value)


def event(kind: str = "ordered", **properties: object) -> bytes:
    return encode(Event(id=f"e-{kind}", type=kind, user_id="u1", time=NOW, properties=properties))


def applied(decider: Decider, read: Record, state: bytes | None, now_ms: int) -> Step:
    return decider.apply(read, PARTITIONS, state, now_ms)


def of(step: Step, topic: str, model: type) -> list:
    return [decode(model, out.value) for out in step.outgoing if out.topic == topic]


def test_an_event_that_a_rule_answers_brings_state_a_decision_and_its_command(decider):
    step = applied(decider, record("events", event(total=5, order="o1")), None, NOW_MS)
    (decision,), (command,) = of(step, "decisions", Decision), of(step, "commands", SendCommand)
    assert decision.outcome is DecisionOutcome.SEND
    assert decision.command_id == command.id
    assert (command.trigger, command.template_hash, command.data) == ("thanks", "hash-1", {"order": "o1"})
    assert {out.key for out in step.outgoing} == {b"u1"}
    assert step.state is not None


def test_an_event_that_concerns_no_rule_leaves_no_state_by_its_model_either(decider):
    step = applied(decider, record("events", event(total=0)), None, NOW_MS)
    assert (step.state, step.outgoing) == (None, [])


def test_what_an_event_leaves_behind_is_freed_at_once_and_not_left_to_the_collector(decider):
    read = record("events", event(total=5, order="o1"))
    applied(decider, read, None, NOW_MS)
    gc.collect()
    gc.disable()
    try:
        applied(decider, read, None, NOW_MS)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_same_event_again_changes_nothing(decider):
    first = applied(decider, record("events", event(total=5, order="o1")), None, NOW_MS)
    again = applied(decider, record("events", event(total=5, order="o1")), first.state, NOW_MS)
    assert again.outgoing == []
    assert again.state == first.state


def test_a_delay_waits_in_the_state_and_fires_when_it_is_due(decider):
    granted = Consent(granted=True, time=NOW)
    profile = encode(Profile(user_id="u1", address="u1@mail.example", consent={"marketing": granted}))
    known = applied(decider, record("profiles", profile), None, NOW_MS)
    looked = applied(decider, record("events", event("looked")), known.state, NOW_MS)
    due_ms = int((NOW + timedelta(hours=1)).timestamp() * 1000)
    assert (looked.outgoing, looked.next_due_ms) == ([], due_ms)
    assert decider.fire_due(0, "u1", looked.state, due_ms - 1).outgoing == []
    fired = decider.fire_due(0, "u1", looked.state, due_ms)
    assert [c.trigger for c in of(fired, "commands", SendCommand)] == ["reminder"]
    assert fired.next_due_ms is None


@pytest.mark.parametrize(
    ("raw", "cause"),
    [
        (b"{not json", DeadLetterCause.NOT_JSON),
        (None, DeadLetterCause.NOT_JSON),
        (b'{"id": "e1", "user_id": "u1"}', DeadLetterCause.INVALID),
        (b"[]", DeadLetterCause.INVALID),
    ],
)
def test_what_cannot_be_read_is_a_dead_letter_with_its_place_and_bytes(decider, raw, cause):
    step = applied(decider, record("events", raw), b"state as it was", NOW_MS)
    (letter,) = of(step, "dead-letters", DeadLetter)
    assert (letter.cause, letter.original_value()) == (cause, raw)
    assert letter.place == f"events[{partition_for(b'u1', PARTITIONS)}]@7"
    assert step.state is None


def test_a_record_in_a_wrong_partition_is_misrouted(decider):
    wrong = (partition_for(b"u1", PARTITIONS) + 1) % PARTITIONS
    step = applied(decider, record("events", event(total=1), partition=wrong), None, NOW_MS)
    (letter,) = of(step, "dead-letters", DeadLetter)
    assert letter.cause is DeadLetterCause.MISROUTED
    assert "murmur2_random" in letter.detail
    assert not letter.applied


def test_a_record_under_another_key_is_refused(decider):
    step = applied(decider, record("events", event(total=1), key=b"u2"), None, NOW_MS)
    assert [letter.cause for letter in of(step, "dead-letters", DeadLetter)] == [DeadLetterCause.INVALID]


def test_a_record_that_makes_a_rule_fail_is_put_aside_and_still_counts_for_the_others(decider):
    step = applied(decider, record("events", event(total="much")), None, NOW_MS)
    (letter,) = of(step, "dead-letters", DeadLetter)
    assert letter.cause is DeadLetterCause.RULE_ERROR
    assert letter.detail.startswith("thanks: ")
    assert letter.applied
    assert step.state is not None


def test_an_event_without_a_user_changes_nobody(decider):
    raw = orjson.dumps({"id": "e1", "type": "restocked", "user_id": None, "time": NOW.isoformat()})
    assert applied(decider, record("events", raw, key=None), None, NOW_MS) == Step()

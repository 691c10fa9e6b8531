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
from streams.decisions.evaluate import Decider
from streams.decisions.update import LARGEST_STATE, InputRecord, Update
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules
from triggers.rules import encoding
from triggers.rules.events import stored_event
from triggers.rules.state import UserState

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
    return fresh_decider()


def fresh_decider() -> Decider:
    rules = load_rules([SourceFile("rules.yaml", RULES)], {"thanks": "hash-1", "reminder": "hash-2"})
    return Decider(Evaluator(rules))


def record(topic: str, value: bytes | None, key: bytes | None = b"u1", partition: int | None = None) -> InputRecord:
    where = partition_for(key or b"", PARTITIONS) if partition is None else partition
    return InputRecord(topic, where, 7, key, value)


def event(kind: str = "ordered", **properties: object) -> bytes:
    return encode(Event(id=f"e-{kind}", type=kind, user_id="u1", time=NOW, properties=properties))


def applied(decider: Decider, read: InputRecord, state: bytes | None, now_ms: int) -> Update:
    return decider.apply(read, PARTITIONS, state, now_ms)


def of(update: Update, topic: str, model: type) -> list:
    return [decode(model, out.value) for out in update.outgoing if out.topic == topic]


def test_an_event_that_a_rule_answers_brings_state_a_decision_and_its_command(decider):
    update = applied(decider, record("events", event(total=5, order="o1")), None, NOW_MS)
    (decision,), (command,) = of(update, "decisions", Decision), of(update, "commands", SendCommand)
    assert decision.outcome is DecisionOutcome.SEND
    assert decision.command_id == command.id
    assert (command.trigger, command.template_hash, command.data) == ("thanks", "hash-1", {"order": "o1"})
    assert {out.key for out in update.outgoing} == {b"u1"}
    assert update.state is not None


def test_an_event_read_before_its_profile_brings_its_command_with_the_profile(decider):
    hour = timedelta(hours=1)
    looked = encode(Event(id="e1", type="looked", user_id="u1", time=NOW - hour))
    waits = applied(decider, record("events", looked), None, NOW_MS)
    assert [(d.outcome, d.reason) for d in of(waits, "decisions", Decision)] == [("defer", "profile_unknown")]
    assert waits.next_due_ms == NOW_MS + 30_000
    consent = {"marketing": Consent(granted=True, time=NOW)}
    profile = record("profiles", encode(Profile(user_id="u1", consent=consent)))
    sent = applied(decider, profile, waits.state, NOW_MS + 4)
    assert [command.trigger for command in of(sent, "commands", SendCommand)] == ["reminder"]
    assert sent.next_due_ms is None


def test_an_event_that_matches_no_rule_leaves_no_state(decider):
    update = applied(decider, record("events", event(total=0)), None, NOW_MS)
    assert (update.state, update.outgoing) == (None, [])


def test_the_objects_of_an_event_are_freed_at_once_without_the_garbage_collector(decider):
    read = record("events", event(total=5, order="o1"))
    applied(decider, read, None, NOW_MS)
    gc.collect()
    gc.disable()
    try:
        applied(decider, read, None, NOW_MS)
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("properties", [{"order": "o2"}, {}], ids=["a send", "data that fails"])
def test_what_is_decided_at_once_is_what_a_replay_decides(properties):
    at_once, replay = fresh_decider(), fresh_decider()
    before = applied(replay, record("events", event("looked")), None, NOW_MS).state
    read = record("events", event(total=5, **properties))
    decoded = stored_event(decode(Event, read.value))
    context = at_once.relevant_context(decoded, NOW_MS)
    assert before is not None
    assert context is not None
    assert at_once.at_once.decide("u1", before, decoded, context) is not None
    made, again = at_once.decide(context, "u1", read, before, NOW_MS), applied(replay, read, before, NOW_MS)
    assert (made.key, made.state, made.next_due_ms, made.outgoing) == (
        again.key,
        again.state,
        again.next_due_ms,
        again.outgoing,
    )


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
    assert decider.fire_due(0, "u1", looked.state, due_ms, due_ms - 1).outgoing == []
    fired = decider.fire_due(0, "u1", looked.state, due_ms, due_ms)
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
def test_an_unreadable_record_becomes_a_dead_letter_with_its_place_and_bytes(decider, raw, cause):
    update = applied(decider, record("events", raw), b"state as it was", NOW_MS)
    (letter,) = of(update, "dead-letters", DeadLetter)
    assert (letter.cause, letter.original_value()) == (cause, raw)
    assert letter.place == f"events[{partition_for(b'u1', PARTITIONS)}]@7"
    assert update.state is None


def test_a_record_in_a_wrong_partition_is_misrouted(decider):
    wrong = (partition_for(b"u1", PARTITIONS) + 1) % PARTITIONS
    update = applied(decider, record("events", event(total=1), partition=wrong), None, NOW_MS)
    (letter,) = of(update, "dead-letters", DeadLetter)
    assert letter.cause is DeadLetterCause.MISROUTED
    assert "murmur2_random" in letter.detail
    assert not letter.applied


def test_a_record_under_another_key_is_misrouted(decider):
    update = applied(decider, record("events", event(total=1), key=b"u2"), None, NOW_MS)
    assert [letter.cause for letter in of(update, "dead-letters", DeadLetter)] == [DeadLetterCause.MISROUTED]


def test_a_record_that_makes_a_rule_fail_is_set_aside_and_still_counts_for_the_others(decider):
    update = applied(decider, record("events", event(total="much")), None, NOW_MS)
    (letter,) = of(update, "dead-letters", DeadLetter)
    assert letter.cause is DeadLetterCause.RULE_ERROR
    assert letter.detail.startswith("thanks: ")
    assert letter.applied
    assert update.state is not None


def profile(granted: bool = True, **fields: object) -> bytes:
    consent = {"marketing": {"granted": granted, "time": NOW.isoformat()}}
    return orjson.dumps({"user_id": "u1", "address": "u1@mail.example", "consent": consent} | fields)


def marketing_outcomes(decider: Decider, state: bytes | None) -> list[DecisionOutcome]:
    """What is decided of a marketing send, an hour after the event that asks for it."""
    later = NOW_MS + 3_600_000
    looked = applied(decider, record("events", event("looked")), state, NOW_MS)
    fired = decider.fire_due(0, "u1", looked.state, later, later)
    return [decision.outcome for decision in of(fired, "decisions", Decision)]


UNREADABLE = [
    profile(False, address=""),
    profile(True, address="u1@mail.example "),
    profile(True, attributes={"a": "\0"}),
    profile(False, locale="x" * 36),
    profile(True, user_id="u2"),
    orjson.dumps({"user_id": "u1", "consent": {"marketing": False}}),
    orjson.dumps({"user_id": "u1", "consent": ["marketing"]}),
    profile()[:-20],
    b"",
    b"[" * 300 + b"]" * 300,
]


@pytest.mark.parametrize("raw", UNREADABLE)
def test_a_newer_profile_that_cannot_be_read_withdraws_marketing_until_one_can(decider, raw):
    known = applied(decider, record("profiles", profile()), None, NOW_MS)
    assert marketing_outcomes(decider, known.state) == [DecisionOutcome.SEND]
    unread = applied(decider, record("profiles", raw), known.state, NOW_MS)
    (letter,) = of(unread, "dead-letters", DeadLetter)
    assert letter.original_value() == raw
    assert marketing_outcomes(decider, unread.state) == [DecisionOutcome.DROP]
    mended = applied(decider, record("profiles", profile(locale="de")), unread.state, NOW_MS)
    assert marketing_outcomes(decider, mended.state) == [DecisionOutcome.SEND]


def test_an_older_consent_does_not_undo_a_refusal_from_an_unreadable_profile(decider):
    known = applied(decider, record("profiles", profile()), None, NOW_MS)
    newer = {"marketing": {"granted": False, "time": (NOW + timedelta(minutes=1)).isoformat()}}
    unread = applied(decider, record("profiles", profile(locale="x" * 36, consent=newer)), known.state, NOW_MS)
    again = applied(decider, record("profiles", profile()), unread.state, NOW_MS)
    assert marketing_outcomes(decider, again.state) == [DecisionOutcome.DROP]


def test_an_unreadable_profile_does_not_stop_transactional_mail(decider):
    known = applied(decider, record("profiles", profile()), None, NOW_MS)
    unread = applied(decider, record("profiles", b"{"), known.state, NOW_MS)
    update = applied(decider, record("events", event(total=5, order="o1")), unread.state, NOW_MS)
    assert [decision.outcome for decision in of(update, "decisions", Decision)] == [DecisionOutcome.SEND]


def test_an_unreadable_profile_of_a_user_never_seen_leaves_no_state(decider):
    assert applied(decider, record("profiles", b"{"), None, NOW_MS).state is None


def test_a_profile_that_makes_the_core_fail_withdraws_marketing_too(decider):
    known = applied(decider, record("profiles", profile()), None, NOW_MS)
    attributes = {"a": [0.5] * 45_000}  # under the bound of a profile, and above that of a state
    update = applied(decider, record("profiles", profile(attributes=attributes)), known.state, NOW_MS)
    (letter,) = of(update, "dead-letters", DeadLetter)
    assert letter.cause is DeadLetterCause.RULE_ERROR
    assert marketing_outcomes(decider, update.state) == [DecisionOutcome.DROP]


def test_a_misrouted_profile_changes_no_state_here(decider):
    wrong = (partition_for(b"u1", PARTITIONS) + 1) % PARTITIONS
    update = applied(decider, record("profiles", profile(False), partition=wrong), None, NOW_MS)
    assert update.state is None
    assert [letter.cause for letter in of(update, "dead-letters", DeadLetter)] == [DeadLetterCause.MISROUTED]


def test_a_profile_without_value_is_the_end_of_the_user_and_no_dead_letter(decider):
    known = applied(decider, record("profiles", profile()), None, NOW_MS)
    looked = applied(decider, record("events", event("looked")), known.state, NOW_MS)
    gone = applied(decider, record("profiles", None), looked.state, NOW_MS)
    assert gone == Update(b"u1", removed=True, running=())


@pytest.mark.parametrize("wrong", [{"time": "yesterday"}, {"url": "x" * 3000}, {"command_id": None}])
@pytest.mark.parametrize("kind", ["unsubscribed", "complained"])
def test_an_outcome_that_stops_mail_takes_effect_if_the_rest_cannot_be_read(decider, kind, wrong):
    known = applied(decider, record("profiles", profile()), None, NOW_MS)
    body = {"id": "o1", "command_id": "c1", "user_id": "u1", "kind": kind, "time": NOW.isoformat()}
    update = applied(decider, record("outcomes", orjson.dumps(body | wrong)), known.state, NOW_MS)
    (letter,) = of(update, "dead-letters", DeadLetter)
    assert (letter.cause, letter.applied) == (DeadLetterCause.INVALID, True)
    assert marketing_outcomes(decider, update.state) == [DecisionOutcome.DROP]


def test_an_unsubscription_of_a_command_no_longer_known_is_from_every_purpose(decider):
    known = applied(decider, record("profiles", profile()), None, NOW_MS)
    body = {"id": "o1", "command_id": "long-ago", "user_id": "u1", "kind": "unsubscribed", "time": NOW.isoformat()}
    update = applied(decider, record("outcomes", orjson.dumps(body)), known.state, NOW_MS)
    assert marketing_outcomes(decider, update.state) == [DecisionOutcome.DROP]


def full_state(decider: Decider, spare: int) -> bytes:
    """A state that has consent to marketing, and so many bytes left."""
    lean = applied(decider, record("profiles", profile(attributes={"a": ""})), None, NOW_MS).state
    assert lean is not None
    text = "x" * (LARGEST_STATE - len(lean) - spare)
    return encoding.encode(replaced(encoding.decode("u1", lean), text))[0]


def replaced(state: UserState, text: str) -> UserState:
    state.user.attributes["a"] = text
    return state


@pytest.mark.parametrize("kind", ["unsubscribed", "complained"])
def test_an_outcome_that_stops_mail_takes_effect_if_the_state_is_full(decider, kind):
    full = full_state(decider, 10)
    body = {"id": "o1", "command_id": "c1", "user_id": "u1", "kind": kind, "time": NOW.isoformat()}
    update = applied(decider, record("outcomes", orjson.dumps(body)), full, NOW_MS)
    assert [letter.cause for letter in of(update, "dead-letters", DeadLetter)] == [DeadLetterCause.RULE_ERROR]
    state = encoding.decode("u1", update.state)
    assert state.suppressed or not state.consent["marketing"].granted


def test_refusals_of_an_unreadable_profile_are_kept_if_the_state_is_full(decider):
    noes = {f"purpose-{number}": False for number in range(50)}
    raw = orjson.dumps({"user_id": "u1", "consent": noes})
    update = applied(decider, record("profiles", raw), full_state(decider, 20), NOW_MS)
    state = encoding.decode("u1", update.state)
    assert {purpose for purpose, answer in state.consent.items() if not answer.granted} == set(noes)
    assert len(state.consent) == len(noes)


def test_an_event_without_a_user_changes_no_state(decider):
    raw = orjson.dumps({"id": "e1", "type": "restocked", "user_id": None, "time": NOW.isoformat()})
    assert applied(decider, record("events", raw, key=None), None, NOW_MS) == Update()

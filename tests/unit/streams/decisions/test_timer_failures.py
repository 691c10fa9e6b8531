"""An exception out of the core for one user's timers: a dead letter, and everybody else's timers fire."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from drivers.lone_worker import LoneWorker, rules
from structlog.testing import capture_logs

from schemas.codec import decode, encode
from schemas.deadletters import DeadLetter
from schemas.decisions import Decision
from schemas.events import Event
from schemas.journal import AppliedRange, Checkpoint
from schemas.profiles import Profile
from schemas.topics import DEAD_LETTERS, DECISIONS, EVENTS, PROFILES
from schemas.vocabulary import DeadLetterCause
from streams.decisions.counts import DEAD_LETTERED, UNDECIDED
from streams.decisions.evaluate import Decider
from streams.decisions.replay import Appended, Replay
from streams.decisions.update import LARGEST_OUTPUT, InputRecord
from streams.runtime.checkpoint import OffsetMetadata, Output
from triggers.engine.evaluation import Effects
from triggers.engine.evaluator import Evaluator
from triggers.rules import encoding
from triggers.rules.state import UserState

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
HOUR_MS = 3_600_000
POISON = "u2"
USERS = ("u1", POISON, "u3")
REMIND = (
    "trigger: reminder\npurpose: transactional\non: looked\nafter: 1h\n"
    "send: {template: hello, data: {a: event.text, b: event.text, c: event.text, d: event.text}}\n"
)
DAILY = 'trigger: daily\npurpose: transactional\non: {every: day, at: "09:00"}\nsend: hello\n'
UNDER_RULES = OffsetMetadata(NOW_MS, 1, {"manifest": 2, "control": 0})
UNDER_NONE = OffsetMetadata(NOW_MS, 1, {"manifest": 1, "control": 0})


def inputs(text: str = "") -> list[InputRecord]:
    """A profile and an event of each user; the event of one of them holds `text`."""
    found = []
    for number, user in enumerate(USERS):
        found.append(InputRecord(PROFILES.name, 0, number, user.encode(), encode(Profile(user_id=user))))
        properties = {"text": text if user == POISON else "short"}
        event = Event(id=f"e-{user}", type="looked", user_id=user, time=NOW, properties=properties)
        found.append(InputRecord(EVENTS.name, 0, number, user.encode(), encode(event)))
    return found


def states(text: str, records: Sequence[InputRecord]) -> dict[bytes, bytes]:
    decider, found = Decider(Evaluator(rules(text))), dict[bytes, bytes]()
    for record in records:
        assert record.key is not None
        update = decider.apply(record, 1, found.get(record.key), NOW_MS)
        if update.state is not None:
            found[record.key] = update.state
    return found


def of(outputs: Sequence[Output], topic: str, model: type) -> list:
    return [decode(model, out.value) for out in outputs if out.topic == topic]


def decided_for(outputs: Sequence[Output]) -> list[str]:
    return [decision.user_id for decision in of(outputs, DECISIONS.name, Decision)]


def raising(method: Callable[..., object], error: Callable[[], Exception]) -> Callable[..., object]:
    """The evaluator's method, which fails for one user."""

    def call(self: Evaluator, state: UserState, now_ms: int) -> object:
        if state.user_id == POISON:
            raise error()
        return method(self, state, now_ms)

    return call


ERRORS = [lambda: KeyError("poison"), MemoryError, lambda: RecursionError("poison")]


@pytest.mark.parametrize("error", ERRORS)
def test_a_timer_that_fails_is_a_dead_letter_and_the_timers_of_all_others_fire(
    error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = LoneWorker(UNDER_RULES, REMIND, states(REMIND, inputs()))
    monkeypatch.setattr(Evaluator, "fire_due", raising(Evaluator.fire_due, error))
    with capture_logs() as lines:
        worker.tick(NOW_MS + HOUR_MS)
    outputs, counts = worker.runtime.buffer.outputs, worker.runtime.buffer.counts
    assert decided_for(outputs) == ["u1", "u3"]
    [letter] = of(outputs, DEAD_LETTERS.name, DeadLetter)
    assert letter.place == f"user-state[0]@{NOW_MS + HOUR_MS}", "the table, the partition, and when the timer was due"
    assert (letter.cause, letter.original_key()) == (DeadLetterCause.RULE_ERROR, POISON.encode())
    assert type(error()).__name__ in letter.detail
    assert counts[DEAD_LETTERED, DeadLetterCause.RULE_ERROR] == 1
    assert counts[UNDECIDED, "timer_skipped"] == 1
    assert [line["place"] for line in lines if line["event"] == "timer_failed"] == [letter.place]
    assert worker.processor.pending() == {0: 0}


def test_a_timer_that_fails_is_skipped_once_and_neither_fires_again_nor_after_a_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = LoneWorker(UNDER_RULES, REMIND, states(REMIND, inputs()))
    monkeypatch.setattr(Evaluator, "fire_due", raising(Evaluator.fire_due, ERRORS[0]))
    worker.tick(NOW_MS + HOUR_MS)
    worker.tick(NOW_MS + 2 * HOUR_MS)
    again = LoneWorker(UNDER_RULES, REMIND, worker.states())
    again.tick(NOW_MS + 3 * HOUR_MS)
    letters = of([*worker.runtime.buffer.outputs, *again.runtime.buffer.outputs], DEAD_LETTERS.name, DeadLetter)
    assert len(letters) == 1
    assert encoding.decode(POISON, again.states()[POISON.encode()]).running == []


def test_a_schedule_continues_with_its_next_slot_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = LoneWorker(UNDER_NONE, DAILY, states(REMIND, inputs()[::2]))
    with monkeypatch.context() as failing:
        failing.setattr(Evaluator, "fire_due", raising(Evaluator.fire_due, ERRORS[0]))
        worker.tick(NOW_MS + 4 * HOUR_MS)
    assert decided_for(worker.runtime.buffer.outputs) == ["u1", "u3"]
    worker.tick(NOW_MS + 28 * HOUR_MS)
    assert sorted(decided_for(worker.runtime.buffer.outputs)[2:]) == ["u1", "u2", "u3"]


def test_an_exception_while_skipping_leaves_the_timer_for_the_users_next_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = LoneWorker(UNDER_RULES, REMIND, states(REMIND, inputs()))
    with monkeypatch.context() as failing:
        for name in ("fire_due", "skip_due"):
            failing.setattr(Evaluator, name, raising(getattr(Evaluator, name), ERRORS[0]))
        worker.tick(NOW_MS + HOUR_MS)
    assert decided_for(worker.runtime.buffer.outputs) == ["u1", "u3"]
    state = worker.states()[POISON.encode()]
    assert encoding.due_of(state) is None
    event = encode(Event(id="later", type="looked", user_id=POISON, time=NOW + timedelta(hours=2)))
    decider = Decider(Evaluator(rules(REMIND)))
    update = decider.apply(InputRecord(EVENTS.name, 0, 9, POISON.encode(), event), 1, state, NOW_MS + 2 * HOUR_MS)
    assert decided_for(update.outgoing) == [POISON]


def test_a_state_that_cannot_be_decoded_is_a_dead_letter_when_its_timer_is_due() -> None:
    kept = states(REMIND, inputs())
    kept[POISON.encode()] = kept[POISON.encode()][:12]
    worker = LoneWorker(UNDER_RULES, REMIND, kept)
    worker.tick(NOW_MS + HOUR_MS)
    assert decided_for(worker.runtime.buffer.outputs) == ["u1", "u3"]
    assert len(of(worker.runtime.buffer.outputs, DEAD_LETTERS.name, DeadLetter)) == 1
    assert encoding.due_of(worker.states()[POISON.encode()]) is None


def test_a_timer_whose_mail_no_record_could_carry_is_a_dead_letter() -> None:
    worker = LoneWorker(UNDER_RULES, REMIND, states(REMIND, inputs("x" * 230_000)))
    worker.tick(NOW_MS + HOUR_MS)
    outputs = worker.runtime.buffer.outputs
    assert max(len(out.value or b"") for out in outputs) < LARGEST_OUTPUT
    assert decided_for(outputs) == ["u1", "u3"]
    [letter] = of(outputs, DEAD_LETTERS.name, DeadLetter)
    assert "TooLarge" in letter.detail
    assert worker.runtime.buffer.counts[UNDECIDED, "timer_skipped"] == 1


def test_a_user_whose_schedules_cannot_be_planned_is_a_dead_letter_and_all_others_are_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = f"{REMIND}---\n{DAILY}"
    worker = LoneWorker(UNDER_NONE, both, states(REMIND, inputs()))
    with monkeypatch.context() as failing:
        failing.setattr(Evaluator, "plan", raising(Evaluator.plan, ERRORS[0]))
        worker.tick(NOW_MS + 1)
    [letter] = of(worker.runtime.buffer.outputs, DEAD_LETTERS.name, DeadLetter)
    assert letter.original_key() == POISON.encode()
    worker.tick(NOW_MS + 4 * HOUR_MS)
    assert Counter(decided_for(worker.runtime.buffer.outputs)) == {"u1": 2, "u2": 1, "u3": 2}, "what waited goes on"


def test_a_replay_by_the_journal_skips_the_same_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    records = inputs()
    worker = LoneWorker(UNDER_NONE, f"{REMIND}---\n{DAILY}", states(REMIND, records))
    first_to_fail: dict[str, int] = {}

    def fire_due(self: Evaluator, state: UserState, now_ms: int) -> Effects:
        if state.user_id == POISON and first_to_fail.setdefault(POISON, now_ms) == now_ms:
            raise KeyError("poison")
        return original(self, state, now_ms)

    original = Evaluator.fire_due
    monkeypatch.setattr(Evaluator, "fire_due", fire_due)
    ticks = [1, 4 * HOUR_MS, 28 * HOUR_MS]
    for after_ms in ticks:
        worker.tick(NOW_MS + after_ms)
    read = {
        topic: {r.offset: Appended(r.key, r.value, NOW_MS) for r in records if r.topic == topic}
        for topic in (PROFILES.name, EVENTS.name)
    }
    replay = Replay(0, 1, read)
    spans = [AppliedRange(topic=topic, partition=0, first=0, last=2) for topic in read]
    before, after = (Decider(Evaluator(rules(text))) for text in (REMIND, f"{REMIND}---\n{DAILY}"))
    replay.apply(Checkpoint(partition=0, number=1, applied=spans, clock=NOW, manifest=1, control=0), before)
    for number, after_ms in enumerate(ticks, 2):
        clock = NOW + timedelta(milliseconds=after_ms)
        checkpoint = Checkpoint(partition=0, number=number, applied=[], clock=clock, manifest=2, control=0)
        replay.apply(checkpoint, after)
    assert replay.written == worker.runtime.buffer.outputs
    assert replay.states == worker.states()
    assert len(of(replay.written, DEAD_LETTERS.name, DeadLetter)) == 1

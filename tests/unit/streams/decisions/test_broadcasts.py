"""Events without a user: from `events` to every partition, and there to the users who wait, each once."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.broadcasts import Broadcast, broadcast_of
from schemas.codec import decode, encode
from schemas.deadletters import DeadLetter
from schemas.decisions import Decision
from schemas.events import Event
from schemas.journal import AppliedRange, Checkpoint
from schemas.topics import BROADCASTS, DEAD_LETTERS, DECISIONS, EVENTS
from schemas.vocabulary import Reason
from streams.decisions import waiting
from streams.decisions.broadcasts import SLICE, BroadcastReader
from streams.decisions.counts import DEAD_LETTERED, FAILED, UNDECIDED
from streams.decisions.evaluate import LARGEST_BROADCAST, Decider
from streams.decisions.replay import Appended, Replay
from streams.decisions.update import InputRecord, Update
from streams.runtime.checkpoint import Output
from triggers.cel.runtime import as_ms
from triggers.engine.evaluation import Effects
from triggers.engine.evaluator import Evaluator
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules
from triggers.rules import encoding
from triggers.rules.events import StoredEvent, stored_event
from triggers.rules.ruleset import RuleSet
from triggers.rules.state import Occurrence, UserState

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
WAITLIST = """
trigger: waitlist
purpose: transactional
on: viewed
after: 1d
unless: {event: restocked, same: [shop, product]}
send: hello
"""


def rules(text: str = WAITLIST) -> RuleSet:
    return load_rules([SourceFile("rules.yaml", text)], {"hello": "a" * 32})


def event(kind: str, user: str | None = None, event_id: str = "", **properties: Any) -> Event:
    return Event(id=event_id or f"{kind}-{user}", type=kind, user_id=user, time=NOW, properties=properties)


def restocked(product: Any = "lamp", shop: Any = 1, **more: Any) -> Event:
    return event("restocked", product=product, shop=shop, **more)


VALUES = st.one_of(st.sampled_from(["a", "ä", "", "ab", 1, 1.0, True, None]), st.lists(st.sampled_from(["a", 1])))


def letter_of(output: Output) -> DeadLetter | None:
    return decode(DeadLetter, output.value) if output.topic == DEAD_LETTERS.name else None


class LonePartition:
    """The users of the only partition."""

    def __init__(self, indexed_at_once: int, text: str = WAITLIST) -> None:
        """Before each event without a user, so many users are indexed."""
        self.indexed_at_once = indexed_at_once
        self.states: dict[bytes, bytes] = {}
        self.written: list[Output] = []
        self.decider = Decider(Evaluator(rules(text)), Counter())
        self.reader = BroadcastReader(self.decider, self.states)
        self.at_ms = NOW_MS

    def views(self, user: str, product: Any = "lamp", shop: Any = 1) -> None:
        key, self.at_ms = user.encode(), self.at_ms + 1
        value = encode(event("viewed", user, f"v{self.at_ms}", product=product, shop=shop))
        record = InputRecord(EVENTS.name, 0, self.at_ms, key, value)
        self.store(self.decider.apply(record, 1, self.states.get(key), self.at_ms))

    def store(self, update: Update) -> None:
        if update.state is not None:
            self.states[update.key] = update.state
        if update.running is not None:
            self.reader.waiting.note(update.key, update.running)
        self.written += update.outgoing

    def read(self, value: bytes | None) -> list[Output]:
        """Applies a record of `broadcasts`, and returns what was written."""
        self.reader.waiting.index(self.indexed_at_once)
        self.at_ms += 1
        self.written = []
        for update in self.reader.updates(InputRecord(BROADCASTS.name, 0, 5, None, value), self.at_ms):
            self.store(update)
        return self.written

    def name(self, fact: Event) -> list[bytes | None]:
        """Applies the event's first record, and returns those that name who waits for it."""
        named = self.read(encode(broadcast_of(fact)))
        assert {out.topic for out in named} <= {BROADCASTS.name}
        return [out.value for out in named]

    def broadcast(self, fact: Event) -> list[Output]:
        """Applies all records of the event, and returns what was written for users."""
        return [out for value in self.name(fact) for out in self.read(value)]

    @property
    def waiting(self) -> set[str]:
        return {key.decode() for key, raw in self.states.items() if encoding.running_of(raw)}


@pytest.fixture(params=[0, 1, 1_000], ids=["indexed by searches", "in part indexed", "indexed"])
def partition(request: pytest.FixtureRequest) -> LonePartition:
    return LonePartition(request.param)


def test_an_event_without_a_user_goes_to_every_partition(partition):
    value = encode(restocked())
    update = partition.decider.apply(InputRecord(EVENTS.name, 3, 9, None, value), 4, None, NOW_MS)
    assert [(out.topic, out.partition) for out in update.outgoing] == [(BROADCASTS.name, n) for n in range(4)]
    assert [decode(Broadcast, out.value) for out in update.outgoing] == [broadcast_of(restocked())] * 4
    assert update.state is None


@pytest.mark.parametrize(
    ("fact", "counted"),
    [
        (event("price_changed", product="lamp"), 1),
        (restocked().model_copy(update={"anonymous_id": "visitor"}), 0),
    ],
)
def test_one_that_nothing_can_wait_for_is_counted_and_dropped(partition, fact, counted):
    update = partition.decider.apply(InputRecord(EVENTS.name, 3, 9, None, encode(fact)), 4, None, NOW_MS)
    assert update == Update()
    assert partition.decider._counts[UNDECIDED, "unheard"] == counted


def test_one_that_is_too_large_is_a_dead_letter(partition):
    value = encode(restocked(more="x" * LARGEST_BROADCAST))
    update = partition.decider.apply(InputRecord(EVENTS.name, 3, 9, None, value), 4, None, NOW_MS)
    [letter] = [decode(DeadLetter, out.value) for out in update.outgoing]
    assert letter.cause == "invalid"


def test_it_meets_those_who_wait_by_the_same_values(partition):
    partition.views("ann")
    partition.views("bob", product="vase")
    partition.views("cid", shop=2)
    partition.views("dan", shop=1.0)
    assert partition.broadcast(restocked()) == []
    assert partition.waiting == {"bob", "cid"}


def test_who_comes_and_goes_afterwards_is_known(partition):
    partition.views("ann")
    partition.broadcast(restocked("vase", event_id="1"))
    partition.views("bob")
    partition.views("ann", product="vase")
    partition.broadcast(restocked("vase", event_id="2"))
    assert partition.waiting == {"ann", "bob"}
    partition.broadcast(restocked(event_id="3"))
    assert partition.waiting == set()


def test_the_index_holds_who_waits_and_nobody_else() -> None:
    partition = LonePartition(1_000)
    for user in ("ann", "bob"):
        partition.views(user)
    partition.broadcast(restocked("vase", event_id="1"))
    assert len(partition.reader.waiting) == 1  # each search indexes a part
    partition.broadcast(restocked("chair", event_id="2"))
    assert len(partition.reader.waiting) == 2
    partition.views("cid")
    partition.broadcast(restocked(event_id="3"))
    assert len(partition.reader.waiting) == 0


@pytest.mark.parametrize("product", [4711, "", True])
def test_one_that_shares_no_text_decodes_each_state_once(monkeypatch, product):
    partition, decoded = LonePartition(0), Counter[int]()
    for number in range(20):
        partition.views(f"u{number}", product)

    def counting(raw: bytes) -> list[Occurrence]:
        decoded[0] += 1
        return encoding.running_of(raw)

    monkeypatch.setattr(waiting, "running_of", counting)
    for _ in range(5):
        assert len(partition.reader.waiting.find(stored_event(restocked(product)))) == 20
    assert decoded[0] == 20


@given(st.lists(st.tuples(st.integers(0, 5), VALUES, VALUES), max_size=12), st.tuples(VALUES, VALUES))
def test_the_index_finds_who_is_found_without_it(views: list[tuple[int, Any, Any]], same: tuple[Any, Any]) -> None:
    partition = LonePartition(0)
    for number, product, shop in views:
        partition.views(f"u{number}", product, shop)
    sought = stored_event(restocked(*same))
    found = partition.reader.waiting.find(sought)
    partition.reader.waiting.index(3)
    assert partition.reader.waiting.find(sought) == found
    partition.reader.waiting.index(1_000)
    assert partition.reader.waiting.find(sought) == found
    assert {f"u{n}".encode() for n, *values in views if values == [*same]} == {*found}


@pytest.mark.parametrize("value", [["a", {"b": 1}], {"a": [1, 2]}, True, None])
def test_any_json_value_can_be_shared(partition, value):
    partition.views("ann", product=value)
    partition.views("bob", product="other")
    partition.broadcast(restocked(value))
    assert partition.waiting == {"bob"}


def test_it_is_written_again_with_the_names_of_those_who_wait_and_meets_nobody_before(partition):
    users = [f"u{number:04}" for number in range(2 * SLICE + 50)]
    for user in users:
        partition.views(user)
    slices = partition.name(restocked())
    assert [len(decode(Broadcast, value).users or ()) for value in slices] == [SLICE, SLICE, 50]
    assert partition.waiting == {*users}
    for value in slices:
        assert partition.read(value) == []
    assert partition.waiting == set()


def test_between_two_slices_other_records_are_applied_and_a_slice_meets_nobody_twice(partition):
    users = [f"u{number:04}" for number in range(SLICE + 2)]
    for user in users:
        partition.views(user)
    first, rest = partition.name(restocked())
    partition.read(first)
    partition.views(users[0])  # met already
    partition.views("new")
    partition.read(rest)
    partition.read(rest)
    assert partition.waiting == {users[0], "new"}


SOLD = """
trigger: back
purpose: transactional
on: viewed
unless: {event: discontinued, same: product}
steps: [{wait_for: {event: restocked, same: product}, up_to: 7d, then: [{send: hello}]}]
"""


def test_two_events_meet_everybody_in_the_order_of_the_log() -> None:
    partition = LonePartition(1_000, SOLD)
    for number in range(3 * SLICE):
        partition.views(f"u{number:04}")
    records = [encode(broadcast_of(each)) for each in (event("discontinued", product="lamp"), restocked())]
    written = list[Output]()
    while records:
        behind = partition.read(records.pop(0))
        records += [out.value or b"" for out in behind if out.topic == BROADCASTS.name]
        written += [out for out in behind if out.topic != BROADCASTS.name]
    assert (written, partition.waiting) == ([], set())


def test_the_same_id_again_meets_only_who_was_not_met(partition):
    partition.views("ann")
    partition.broadcast(restocked())
    partition.views("ann")
    partition.views("bob")
    partition.broadcast(restocked())
    assert partition.waiting == {"ann"}
    assert partition.decider._counts[UNDECIDED, "reached"] == 2


def test_what_was_due_before_it_is_decided_then_also_if_nothing_waits_any_more(partition):
    partition.views("ann")
    partition.at_ms += 2 * 86_400_000
    written = partition.broadcast(restocked())
    [decision] = [decode(Decision, out.value) for out in written if out.topic == DECISIONS.name]
    assert (decision.reason, as_ms(decision.decided_at)) == (Reason.EXPIRED, partition.at_ms)
    assert partition.waiting == set()
    assert partition.decider._counts[UNDECIDED, "reached"] == 0


def test_a_user_for_whom_it_fails_is_a_dead_letter_and_the_others_are_met(partition, monkeypatch):
    for user in ("ann", "bob", "cid"):
        partition.views(user)
    apply = Evaluator.apply_broadcast

    def failing(self: Evaluator, state: UserState, event: StoredEvent, now_ms: int) -> Effects:
        if state.user_id == "bob":
            raise RecursionError
        return apply(self, state, event, now_ms)

    monkeypatch.setattr(Evaluator, "apply_broadcast", failing)
    [letter] = [decode(DeadLetter, out.value) for out in partition.broadcast(restocked())]
    assert (letter.topic, letter.original_key(), letter.cause) == (BROADCASTS.name, b"bob", "rule_error")
    assert decode(Broadcast, letter.original_value()) == broadcast_of(restocked())
    assert partition.waiting == {"bob"}


CHEAPER = WAITLIST.replace("product]", "product], where: event.price < 10")


def test_what_fails_for_many_is_one_dead_letter_of_a_record_and_counted_for_each() -> None:
    partition = LonePartition(1_000, CHEAPER)
    for user in ("ann", "bob", "cid"):
        partition.views(user)
    [letter] = [each for out in partition.broadcast(restocked()) if (each := letter_of(out))]
    assert (letter.original_key(), letter.cause, letter.applied) == (b"ann", "rule_error", True)
    assert decode(Broadcast, letter.original_value()) == broadcast_of(restocked())
    assert partition.waiting == set()
    counts = partition.decider._counts
    assert (counts[FAILED, "waitlist", "unless", "expression"], counts[DEAD_LETTERED, "rule_error"]) == (3, 1)


def test_only_the_first_dead_letter_of_a_record_has_the_event(partition, monkeypatch):
    for user in ("ann", "bob", "cid"):
        partition.views(user)

    def failing(_self: Evaluator, state: UserState, *_event: object) -> Effects:
        raise ValueError(state.user_id)

    monkeypatch.setattr(Evaluator, "apply_broadcast", failing)
    letters = [decode(DeadLetter, out.value) for out in partition.broadcast(restocked())]
    assert [letter.original_key() for letter in letters] == [b"ann", b"bob", b"cid"]
    assert [letter.value is None for letter in letters] == [False, True, True]


def test_a_record_that_cannot_be_read_is_a_dead_letter(partition):
    [letter] = partition.read(b'{"id": "e"}')
    assert letter.topic == DEAD_LETTERS.name


def test_one_that_is_heard_no_more_meets_nobody(partition):
    partition.views("ann")
    assert partition.broadcast(event("price_changed", product="lamp", shop=1)) == []
    assert partition.waiting == {"ann"}


def replayed(facts: list[tuple[str, bytes | None, bytes]], cuts: Iterator[int], *alone: Any) -> Replay:
    """A replay of these records, whose journal is cut after so many, each under rules that were loaded anew."""
    offsets, spans, inputs = Counter[str](), list[AppliedRange](), dict[str, dict[int, Appended]]()
    for number, (topic, key, value) in enumerate(facts):
        inputs.setdefault(topic, {})[offsets[topic]] = Appended(key, value, NOW_MS + number)
        spans.append(AppliedRange(topic=topic, partition=0, first=offsets[topic], last=offsets[topic]))
        offsets[topic] += 1
    replay, done = Replay(0, 1, inputs, *alone), 0
    for cut in cuts:
        clock = NOW + timedelta(milliseconds=min(done + cut, len(facts)))
        applied = spans[done : done + cut]
        replay.apply(
            Checkpoint(partition=0, number=1, applied=applied, clock=clock, manifest=1, control=0),
            Decider(Evaluator(rules())),
        )
        done += cut
    return replay


def test_a_replay_decides_the_same_wherever_its_index_begins() -> None:
    facts: list[tuple[str, bytes | None, bytes]] = []
    for number in range(60):
        user = f"u{number % 7}"
        viewed = event("viewed", user, f"v{number}", product=number % 3, shop=1)
        facts.append((EVENTS.name, user.encode(), encode(viewed)))
        if number % 4 == 0:
            again = restocked(number % 3, event_id=f"r{number % 12}")
            facts.append((BROADCASTS.name, None, encode(broadcast_of(again))))
            facts.append((BROADCASTS.name, None, encode(broadcast_of(again, [f"u{each}" for each in range(7)]))))
    whole = replayed(facts, iter([len(facts)]))
    assert any(encoding.running_of(raw) for raw in whole.states.values())
    for cut in (1, 5, 11):
        other = replayed(facts, iter([cut] * (len(facts) // cut + 1)))
        assert (other.states, other.written) == (whole.states, whole.written)


def test_a_replay_of_one_user_alone_meets_the_user_where_the_worker_did() -> None:
    users = ["ann", 'bob"', "cid\\"]
    viewed = [(EVENTS.name, u.encode(), encode(event("viewed", u, product="lamp", shop=1))) for u in users]
    several = [broadcast_of(restocked(), named) for named in (None, users[:1], users[1:])]
    facts = [*viewed, *((BROADCASTS.name, None, encode(each)) for each in several)]
    for user in users:
        met = list[int]()

        def note(cause: InputRecord | None, now_ms: int, update: Update, met: list[int] = met) -> None:
            if cause is not None and cause.topic == BROADCASTS.name and update.state is not None:
                met.append(now_ms)

        replayed(facts, iter([len(facts)]), user.encode(), note)
        assert met == [NOW_MS + len(users) + (1 if user == users[0] else 2)]

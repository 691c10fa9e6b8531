"""One user's timeline recomputed from a journal: the same decisions as a replay of everybody, and what led to them."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.lookback.partition_history import InputRecords, PartitionHistory
from cli.lookback.past_rules import PastRules, RulesMissing
from cli.lookback.timeline_text import around, as_json, entry_lines, plot_lines, sampled, show
from cli.lookback.user_timeline import recompute
from schemas.broadcasts import Broadcast
from schemas.codec import decode, encode
from schemas.decisions import Decision
from schemas.events import Event
from schemas.journal import AppliedRange, Checkpoint
from schemas.profiles import Consent, Profile
from schemas.rules import Control, Manifest, Text, text_hash
from schemas.topics import BROADCASTS, DECISIONS, EVENTS, PROFILES
from streams.decisions.replay import Appended, Replay
from streams.settings import StreamSettings
from triggers.measures.decay import Exponential, ScoreState

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULE = """trigger: cart
purpose: marketing
on: cart_updated
key: event.cart_id
after: 10m
when: score.keen > 1
send: {template: cart, data: {total: event.total}}
---
score: keen
decay: {curve: exponential, half_life: 1h}
add: {event: cart_updated, points: 2}
"""
TEMPLATE = "---\nsubject: s\n---\nx\n--- text ---\nx\n"


def rules_of(*texts: str, switches: tuple[Control, ...] = ()) -> PastRules:
    """Manifests 1, 2, … with one text each, and the template."""
    found = PastRules(switches=[*switches], settings=StreamSettings())
    template = Text(kind="template", path="templates/cart.liquid", body=TEMPLATE)
    found.texts[text_hash(TEMPLATE)] = template
    for number, body in enumerate(texts, 1):
        found.texts[text_hash(body)] = Text(kind="rule", path="cart.yaml", body=body)
        hashes = [text_hash(body), text_hash(TEMPLATE)]
        found.manifests[number] = Manifest(number=number, texts=hashes, applied_at=NOW)
    return found


class Log:
    """A partition in the making: records of its topics, and the journal that applied them."""

    def __init__(self, user: str = "u1") -> None:
        self.history = PartitionHistory(user)
        self.all: dict[str, dict[int, Appended]] = {EVENTS.name: {}, PROFILES.name: {}, BROADCASTS.name: {}}
        for topic in self.all:
            self.history.inputs[topic] = InputRecords(user.encode())

    def add(self, topic: str, user: str | None, value: bytes | None, minutes: float) -> int:
        offset = len(self.all[topic]) * 2  # a transaction's marker stands between two records
        key = None if user is None else user.encode()
        record = Appended(key, value, round((NOW + timedelta(minutes=minutes)).timestamp() * 1000))
        self.all[topic][offset] = record
        self.history.inputs[topic].add(offset, record)
        return offset

    def profile(self, user: str, minutes: float) -> int:
        consent = {"marketing": Consent(granted=True, time=NOW)}
        return self.add(PROFILES.name, user, encode(Profile(user_id=user, consent=consent)), minutes)

    def cart(self, user: str, minutes: float, **properties: object) -> int:
        at = NOW + timedelta(minutes=minutes)
        event = Event(
            id=f"e{minutes}",
            type="cart_updated",
            user_id=user,
            time=at,
            properties={"cart_id": "c", "total": 5, **properties},
        )
        return self.add(EVENTS.name, user, encode(event), minutes)

    def restock(self, minutes: float, users: list[str], **properties: object) -> None:
        at = NOW + timedelta(minutes=minutes)
        fact = {"id": f"b{minutes}", "type": "restocked", "user_id": None, "time": at, "properties": properties}
        event = Broadcast.model_validate(fact | {"users": users})
        self.add(BROADCASTS.name, None, encode(event), minutes)

    def checkpoint(self, *spans: tuple[str, int, int], minutes: float, manifest: int = 1, control: int = 0) -> None:
        applied = [AppliedRange(topic=t, partition=0, first=first, last=last) for t, first, last in spans]
        at = NOW + timedelta(minutes=minutes)
        number = len(self.history.journal) + 1
        self.history.journal.append(
            Checkpoint(partition=0, number=number, applied=applied, clock=at, manifest=manifest, control=control)
        )

    def replayed(self, rules: PastRules) -> list[Decision]:
        """The user's decisions when everybody is replayed."""
        replay = Replay(0, 1, self.all)
        for checkpoint in self.history.journal:
            replay.apply(checkpoint, rules.decider(checkpoint.manifest, checkpoint.control))
        found = [decode(Decision, out.value) for out in replay.written if out.topic == DECISIONS.name]
        return [each for each in found if each.user_id == self.history.user_id]


@pytest.fixture
def log() -> Log:
    """Two users; the timer of the first is due between records of the other."""
    log = Log()
    log.profile("u1", 0)
    log.profile("u2", 0)
    log.cart("u1", 1)
    log.cart("u2", 2)
    log.cart("u2", 14)
    log.checkpoint((PROFILES.name, 0, 2), (EVENTS.name, 0, 2), minutes=3)
    log.checkpoint((EVENTS.name, 3, 4), minutes=30)
    return log


def test_a_user_s_timeline_has_what_a_replay_of_everybody_decides(log: Log) -> None:
    rules = rules_of(RULE)
    log.history.decisions = log.replayed(rules)
    timeline = recompute(log.history, rules)
    assert [*timeline.decisions()] == log.history.decisions
    assert len(log.history.decisions) == 1
    assert (timeline.differs, timeline.compared, timeline.notes, timeline.found) == ([], 1, [], True)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["u1", "u2", "u3"]), st.integers(0, 90), st.sampled_from("cd")), max_size=12),
    st.lists(st.integers(0, 120), max_size=4),
)
def test_others_move_nothing_but_the_clock(carts: list[tuple[str, int, str]], clocks: list[int]) -> None:
    log, rules = Log(), rules_of(RULE)
    for user in ("u1", "u2", "u3"):
        log.profile(user, 0)
    log.checkpoint((PROFILES.name, 0, 4), minutes=0)
    for user, minutes, cart in sorted(carts, key=lambda each: each[1]):
        at = log.cart(user, minutes, cart_id=cart)
        log.checkpoint((EVENTS.name, at, at), minutes=minutes)
    for minutes in sorted(clocks):
        log.checkpoint(minutes=minutes)
    assert [*recompute(log.history, rules).decisions()] == log.replayed(rules)


def test_each_entry_says_what_came_of_it(log: Log) -> None:
    profile, cart, timer = recompute(log.history, rules_of(RULE)).entries
    assert profile.record is not None
    assert profile.is_empty
    assert [*entry_lines(cart)] == [
        "2026-11-24 12:01:00 UTC  event     cart_updated e1: cart_id c, total 5",
        "score     keen 0 → 2",
        "begins    cart, next at 2026-11-24 12:11:00 UTC",
    ]
    title, decision, *gates, command, ends = entry_lines(timer)
    assert (title, decision, ends) == ("2026-11-24 12:13:59 UTC  timer", "decision  cart, cart: sent", "ends      cart")
    assert any("when" in gate and gate.strip().startswith("✓") for gate in gates)
    assert command.strip().startswith("command ")


def test_it_ends_behind_a_decision_or_at_an_instant(log: Log) -> None:
    rules = rules_of(RULE)
    [decision] = log.replayed(rules)
    log.cart("u1", 40)
    log.checkpoint((EVENTS.name, 5, 6), minutes=60)
    whole = recompute(log.history, rules)
    assert len(whole.entries) == 5
    for until in (decision.id, decision.command_id):
        timeline = recompute(log.history, rules, until)
        assert (timeline.entries, timeline.found) == (whole.entries[:3], True)
    timeline = recompute(log.history, rules, round((NOW + timedelta(minutes=5)).timestamp() * 1000))
    assert timeline.entries == whole.entries[:2]
    state = as_json(timeline, rules)["state"]
    assert [each["trigger"] for each in state["running"]] == ["cart"]
    assert not recompute(log.history, rules, "0" * 32).found


def test_it_goes_on_behind_a_decision_without_a_command(log: Log) -> None:
    rules = rules_of(RULE.replace("score.keen > 1", "score.keen > 2"))
    log.cart("u1", 40)
    log.cart("u1", 41, cart_id="d")
    log.checkpoint((EVENTS.name, 5, 8), minutes=60)
    log.history.decisions = log.replayed(rules)
    timeline = recompute(log.history, rules)
    assert [str(each.outcome) for each in timeline.decisions()] == ["drop", "send", "send"]
    assert (timeline.differs, timeline.compared) == ([], 3)


def test_each_checkpoint_is_applied_under_the_rules_and_switches_that_it_names(log: Log) -> None:
    paused = Control(number=7, scope="trigger/cart", paused=True, at=NOW)
    rules = rules_of(RULE, RULE.replace("trigger: cart", "trigger: late"), switches=(paused,))
    log.history.journal[1] = log.history.journal[1].model_copy(update={"control": 7})
    [decision] = recompute(log.history, rules).decisions()
    assert (decision.trigger, decision.reason) == ("cart", "mode")
    log.history.journal[1] = log.history.journal[1].model_copy(update={"manifest": 2})
    withdrawn = recompute(log.history, rules).entries[-1]
    assert ([each.trigger for each in withdrawn.ended], withdrawn.decisions) == (["cart"], ())


def test_what_differs_from_the_record_is_said(log: Log) -> None:
    rules = rules_of(RULE)
    [decision] = log.replayed(rules)
    other = decision.model_copy(update={"step": "other"})
    earlier = decision.model_copy(update={"id": "0" * 32, "decided_at": NOW})
    log.history.decisions = [earlier, other]
    assert recompute(log.history, rules).differs == [
        f"recorded, and not recomputed: cart, cart at 2026-11-24 12:00:00 UTC ({'0' * 32})",
        f"recomputed with other step: cart, other at 2026-11-24 12:13:59 UTC ({decision.id})",
    ]
    log.history.decisions = [earlier]
    assert "recomputed, and not recorded: cart, cart at" in recompute(log.history, rules).differs[1]


def test_before_the_journal_the_topics_give_the_order(log: Log) -> None:
    rules, decisions = rules_of(RULE), log.replayed(rules_of(RULE))
    log.history.journal = [log.history.journal[1].model_copy(update={"number": 9})]
    timeline = recompute(log.history, rules)
    assert [*timeline.decisions()] == decisions
    [note] = timeline.notes
    assert note.startswith("the journal begins with checkpoint 9: what was before is applied by the instants")
    log.history.journal = []
    log.cart("u1", 40)
    timeline = recompute(log.history, rules)
    assert next(timeline.decisions()).trigger == "cart"
    assert timeline.notes == ["the journal is empty: applied by the instants of the topics, under the current rules"]


def test_a_manifest_that_is_gone_is_said_and_the_nearest_later_one_stands_in(log: Log) -> None:
    rules = rules_of(RULE, RULE)
    del rules.manifests[1]
    timeline = recompute(log.history, rules)
    assert timeline.notes == ["no longer kept: 1 manifest (1); the nearest later rules stand in"]
    with pytest.raises(RulesMissing, match="`ebbtide apply`"):
        recompute(log.history, PastRules())


def test_the_timeline_begins_where_the_last_decisions_began(log: Log) -> None:
    for number in range(3):
        log.cart("u1", 100 + 60 * number, cart_id=f"d{number}")
    log.checkpoint((EVENTS.name, 5, 10), minutes=400)
    timeline = recompute(log.history, rules_of(RULE))
    assert around(timeline, 1)[0].at_ms == round((NOW + timedelta(minutes=220)).timestamp() * 1000)
    assert around(timeline, 99)[0] is timeline.entries[1]
    assert around(timeline, 1, "other") == timeline.entries


def test_the_score_is_plotted_with_its_decay(log: Log) -> None:
    out = StringIO()
    timeline, rules = recompute(log.history, rules_of(RULE)), rules_of(RULE)
    rules.rules(1)
    show(Console(file=out, width=80), timeline, rules, timeline.entries)
    assert "score keen: 1.721 at the end" in out.getvalue()
    assert "        2 ┤" in out.getvalue()
    assert "note:" not in out.getvalue()


RESTOCK = """trigger: restock
purpose: marketing
on: cart_updated
steps: [{wait_for: {event: restocked, same: cart_id}, up_to: 1d, then: [{send: cart}]}]
"""


def test_an_event_without_a_user_is_an_entry_of_whom_it_meets() -> None:
    log, rules = Log(), rules_of(RESTOCK)
    for user in ("u1", "u2"):
        log.profile(user, 0)
    log.cart("u1", 1, cart_id="c")
    log.cart("u2", 2, cart_id="d")
    log.restock(3, ["u2"], cart_id="d")
    log.restock(4, ["u1"], cart_id="c")
    log.checkpoint((PROFILES.name, 0, 2), (EVENTS.name, 0, 2), (BROADCASTS.name, 0, 2), minutes=5)
    timeline = recompute(log.history, rules)
    assert [*timeline.decisions()] == log.replayed(rules)
    _, _, restock = timeline.entries
    assert next(entry_lines(restock)) == "2026-11-24 12:04:00 UTC  event     restocked b4: cart_id c"
    assert [each.step for each in restock.decisions] == ["cart"]


def test_a_user_of_whom_nothing_is_kept_is_said_to_be_unknown() -> None:
    out = StringIO()
    timeline = recompute(Log("nobody").history, rules_of(RULE))
    show(Console(file=out, width=80), timeline, rules_of(RULE), around(timeline, 5))
    assert out.getvalue().startswith("no record of nobody is kept that could be applied again\n")


def test_an_expression_that_failed_is_a_problem_of_its_record_and_of_nobody_else() -> None:
    rule = RULE.partition("---")[0].replace("event.cart_id", "event.sku").replace("when: score.keen > 1\n", "")
    log, rules = Log(), rules_of(rule)
    log.cart("u1", 1)
    log.cart("u2", 2)
    log.add(EVENTS.name, None, b"{}", 3)
    log.checkpoint((EVENTS.name, 0, 4), minutes=5)
    timeline = recompute(log.history, rules)
    [entry] = timeline.entries
    problem = "cart: key: no such field: sku in 'event.sku'"
    assert [*entry_lines(entry)] == [
        "2026-11-24 12:01:00 UTC  event     cart_updated e1: cart_id c, total 5",
        f"problem   {problem}",
    ]
    assert as_json(timeline, rules)["entries"][0]["problems"] == (problem,)


HOUR = 3_600_000


def test_a_plot_has_the_highest_value_of_each_time() -> None:
    steps = [
        (0, ScoreState(8.0, 0)),
        (2 * HOUR, ScoreState(4.0, 2 * HOUR)),
        (2 * HOUR + 1, ScoreState(9.0, 2 * HOUR + 1)),
    ]
    assert sampled(steps, Exponential(HOUR), 0, 4 * HOUR, 4) == [
        8.0,
        4.0,
        pytest.approx(9.0),
        pytest.approx(4.5, rel=1e-3),
    ]
    assert sampled(steps, Exponential(HOUR), HOUR, 2 * HOUR, 1) == [4.0]
    assert [*plot_lines("keen", steps, None, 0, HOUR, 80)] == []
    assert [*plot_lines("keen", steps, Exponential(HOUR), HOUR, HOUR, 80)] == []


def test_hostile_properties_cannot_write_to_the_terminal() -> None:
    log = Log()
    log.cart("u1", 1, total="\x1b[31mred\nline")
    log.checkpoint((EVENTS.name, 0, 0), minutes=2)
    [entry] = recompute(log.history, rules_of(RULE)).entries
    assert "\x1b" not in next(entry_lines(entry))
    assert "\n" not in next(entry_lines(entry))

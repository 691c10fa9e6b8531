"""The journal against the inputs: it balances when all is well, and what is lost or doubled breaks its own line."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from cli.demo.history import Appended, History, check_history, replay_journal
from schemas.codec import encode
from schemas.events import Event
from schemas.journal import AppliedRange, Checkpoint
from schemas.topics import COMMANDS, DECISIONS
from triggers.language.diagnostics import SourceFile
from triggers.loader import load_rules
from triggers.rules.ruleset import RuleSet

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
RULE = """
trigger: thanks
purpose: transactional
on: order_completed
after: 10s
send: thanks
"""
ONCE = "each input record was applied once"
UNBROKEN = "the journal has no gap and no repeat"
AGAIN = "a replay of the journal gives the same decisions and commands"


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_rules([SourceFile("thanks.yaml", RULE)], {"thanks": "hash"})


@pytest.fixture
def history(rules) -> History:
    """Four orders a second apart in two checkpoints, whose timers the second one's clock has fired."""
    history = History()
    history.inputs["events", 0] = {offset: order(offset) for offset in (0, 1, 3, 4)}  # 2 is a control record
    history.journal[0] = [checkpoint(1, 0, 1, seconds=1), checkpoint(2, 3, 4, seconds=60)]
    history.written = replay_journal(history, rules)
    assert sorted(topic for topic, _ in history.written) == [COMMANDS.name] * 4 + [DECISIONS.name] * 4
    return history


def order(offset: int) -> Appended:
    at = NOW + timedelta(seconds=offset)
    event = Event(id=f"o{offset}", type="order_completed", user_id=f"u{offset}", time=at)
    return Appended(f"u{offset}".encode(), encode(event), round(at.timestamp() * 1000))


def checkpoint(number: int, first: int, last: int, seconds: float) -> Checkpoint:
    span = AppliedRange(topic="events", partition=0, first=first, last=last)
    at = NOW + timedelta(seconds=seconds)
    return Checkpoint(partition=0, number=number, applied=[span], clock=at, manifest=1, control=0)


def broken(history: History, rules: RuleSet) -> set[str]:
    return {check.says for check in check_history(history, rules) if not check.holds}


def test_the_history_balances(history, rules):
    assert broken(history, rules) == set()


def _lose_an_input(history: History) -> None:
    history.journal[0][1] = checkpoint(2, 4, 4, seconds=60)


def _lose_the_last_input(history: History) -> None:
    history.journal[0][1] = checkpoint(2, 3, 3, seconds=60)


def _double_an_input(history: History) -> None:
    history.journal[0][1] = checkpoint(2, 1, 4, seconds=60)


def _apply_out_of_order(history: History) -> None:
    history.journal[0] = [checkpoint(1, 3, 4, seconds=4), checkpoint(2, 0, 1, seconds=60)]


def _never_apply(history: History) -> None:
    history.inputs["events", 0][5] = order(5)


@pytest.mark.parametrize(
    "mistake", [_lose_an_input, _lose_the_last_input, _double_an_input, _apply_out_of_order, _never_apply]
)
def test_an_input_that_is_lost_doubled_or_out_of_order_is_seen(history, rules, mistake: Callable[[History], None]):
    mistake(history)
    assert ONCE in broken(history, rules)


def test_a_checkpoint_that_is_lost_or_written_twice_is_seen(history, rules):
    first, second = history.journal[0]
    for wrong in ([second], [first, first, second]):
        history.journal[0] = wrong
        assert UNBROKEN in broken(history, rules)


@pytest.mark.parametrize("topic", [COMMANDS.name, DECISIONS.name])
@pytest.mark.parametrize("times", [0, 2])
def test_a_decision_or_command_that_is_lost_or_doubled_is_seen(history, rules, topic, times):
    one = next(written for written in history.written if written[0] == topic)
    history.written[one] = times
    assert broken(history, rules) == {AGAIN}


def test_a_command_with_another_content_is_seen(history, rules):
    one = next(written for written in history.written if written[0] == COMMANDS.name)
    del history.written[one]
    history.written[one[0], one[1].replace(b"thanks", b"sorry!")] = 1
    assert broken(history, rules) == {AGAIN}


def test_the_next_checkpoint_after_a_kill_is_the_first_written_later():
    history = History(checkpointed_s=[10.0, 12.5, 11.5])
    assert history.first_checkpoint_after(11.0) == 0.5

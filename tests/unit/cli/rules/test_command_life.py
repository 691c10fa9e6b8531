"""The life of a command in words: in the order of time."""

from datetime import UTC, datetime, timedelta

from cli.rules.command_life import CommandLife, lines
from cli.rules.delivery_answers import Delivery
from schemas.vocabulary import DeliveryReason, LedgerState

ADMITTED = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
ABOUT = {"command_id": "c1", "trigger": "t", "user_id": "u", "purpose": "marketing", "partition": 0, "owner": None}


def at(minutes: int) -> datetime:
    return ADMITTED + timedelta(minutes=minutes)


def attempt(number: int, began: int, ended: int, state: str) -> dict[str, object]:
    nothing = dict.fromkeys(("path", "reply", "reason", "rule", "classifier_hash"))
    return {**nothing, "attempt": number, "started_at": at(began), "state_at": at(ended), "state": state, "hard": False}


def test_what_happened_is_told_in_the_order_of_time() -> None:
    bounced = {
        "kind": "bounced",
        "time": at(30),
        "machine": None,
        "evidence": None,
        "code": 550,
        "enhanced": None,
        "reply": "",
        "url": "",
    }
    life = CommandLife(
        {**ABOUT, "admitted_at": ADMITTED, "started_at": at(10)},
        Delivery(LedgerState.ACCEPTED, at(11), attempt=2, events=[bounced]),
        [attempt(1, 1, 2, "deferred"), attempt(2, 10, 11, "accepted")],
        [{"at": at(20), "decided": "accepted", "by": "ada", "why": "seen"}],
    )

    times = [line.split()[1] for line in lines(life, at(40)) if line.strip().startswith("2026")]

    assert times == sorted(times)
    assert len(times) == 9


def test_a_limited_command_waits_for_its_turn_and_no_longer_than_its_expiry() -> None:
    delivery = Delivery(LedgerState.ADMITTED, at(1), DeliveryReason.LIMITED, "behind one mx", next_attempt_at=at(60))
    life = CommandLife({**ABOUT, "admitted_at": ADMITTED, "started_at": None}, delivery, [], [])

    *_, last = lines(life, at(2))

    assert last.startswith("  waits for its turn, until 2026-11-29 04:00:00 UTC at the latest: ")
    assert last.endswith("behind one mx")

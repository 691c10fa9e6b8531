"""Which commands wait on their lane, and which wait in the ledger: why, and until when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from drivers.running_senders import a_command

from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.channels.channel import Unreachable
from senders.content.recipient import Recipient
from senders.delivery.lane_driver import LaneDriver
from senders.delivery.lane_intake import LONGEST_BOOKING, LaneIntake, words
from senders.delivery.ready_queue import CAPACITY, DeliveryJob, ReadyQueue
from senders.policy.pipeline import Delay, DeliveryRequest
from senders.queue.ledger import DueCommand
from senders.shaping.actions import ActiveAction
from senders.shaping.bindings import Binding, BindingKind
from senders.shaping.document import ActionKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.loader import parse
from senders.shaping.permits import ClockReading
from senders.shaping.quantities import SendRate
from senders.shaping.sites import Destination

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)


def a_job(domain: str = "d.example", priority: int = 50, partition: int = 0) -> DeliveryJob:
    command = a_command("u1", "h", priority=priority, to=f"ann@{domain}", expires_at=NOW + timedelta(days=1))
    recipient = Recipient("u1", None, None, None, {}, {})
    request = DeliveryRequest(command, NOW, NOW, recipient, frozenset(), NOW, timedelta(seconds=5))
    return DeliveryJob(DueCommand(command, partition, LedgerState.ADMITTED, 0, NOW, NOW), request)


async def not_found(domain: str) -> Destination:
    raise Unreachable(domain)


class Desk:
    """An intake whose lanes begin nothing: their driver does not run."""

    def __init__(self, text: str = "", *, one_lane: bool = False, known: tuple[str, ...] = ("d.example",)) -> None:
        never: Any = None
        database = AsyncDatabase("", Outage("timescale"))
        file = parse(text.encode(), "f")
        self.driver = LaneDriver(
            file,
            owner="w",
            permits=database,
            leases=database,
            actions=database,
            look_up=not_found,
            find_route=never,
            mails=never,
        )
        for domain in known:
            self.driver.board.looked_up(Destination.of(domain, [f"mx.{domain}"]))
        self.ready = ReadyQueue(capacity=16 * CAPACITY)
        self.intake = LaneIntake(self.driver, self.ready, "shop.example", one_lane=one_lane, clock=lambda: NOW)

    def fill(self, count: int, domain: str = "d.example", priority: int = 50) -> list[Delay | None]:
        return [self.intake.admit(a_job(domain, priority)) for _ in range(count)]


async def test_a_lane_keeps_its_share_and_the_rest_waits_in_the_ledger_for_its_turn() -> None:
    desk = Desk("[default]\nmax_message_rate = '10/s'")
    assert desk.fill(CAPACITY) == [None] * CAPACITY
    assert len(desk.ready.waiting) == CAPACITY

    delays = [delay for delay in desk.fill(10) if delay is not None]

    assert [delay.reason for delay in delays] == [DeliveryReason.LIMITED] * 10
    turns = [delay.until for delay in delays]
    assert turns == sorted(set(turns)), "each has a turn of its own"
    assert NOW < turns[0] < turns[-1] < NOW + timedelta(seconds=30)
    assert len(desk.ready.waiting) == CAPACITY


async def test_a_full_lane_holds_up_no_other() -> None:
    desk = Desk(known=("d.example", "other.example"))
    desk.fill(CAPACITY + 10)

    assert desk.fill(1, "other.example") == [None]


async def test_what_comes_before_all_that_waits_has_room_on_a_full_lane() -> None:
    desk = Desk()
    desk.fill(CAPACITY)

    assert desk.fill(1, priority=90) == [None]
    assert desk.fill(1, priority=50) != [None]


async def test_no_turn_is_further_ahead_than_the_longest_booking() -> None:
    desk = Desk("[default]\nmax_message_rate = '1/h'")
    desk.fill(CAPACITY)
    desk.driver.board.decide(ClockReading(1, 1))  # now the lane knows its rate

    turns = [delay.until for delay in desk.fill(10) if delay is not None]

    assert turns == [NOW + LONGEST_BOOKING] * 10


async def test_no_turn_is_after_the_end_of_a_limit_that_a_rule_has_set() -> None:
    desk, end = Desk(), NOW + timedelta(minutes=10)
    desk.fill(CAPACITY)
    [(lane, _)] = desk.driver.board.lanes()
    slow = {"max_message_rate": SendRate.parse("1/h")}
    until_us = round(end.timestamp() * SECOND_US)
    target = ("lane", lane.key.source, lane.key.site)
    desk.driver.board.act([ActiveAction(target, ActionKind.SET, "a rule", 1, until_us, slow)])
    desk.driver.board.decide(ClockReading(1, 1))  # now the lane knows its rate

    turns = [delay.until for delay in desk.fill(10) if delay is not None]

    assert turns == [end] * 10


async def test_a_permit_that_comes_in_an_hour_holds_a_command_for_the_longest_booking_at_most() -> None:
    desk, job = Desk("[default]\nmax_message_rate = '1/h'"), a_job()
    spent = Binding(BindingKind.MESSAGE_RATE, "mails", until_us=1 + 3600 * SECOND_US)

    delay = desk.intake._delay(job, desk.intake._mail_of(job), spent, 1)

    assert delay.until == NOW + LONGEST_BOOKING


async def test_the_mails_of_a_domain_that_is_not_known_have_one_share() -> None:
    desk = Desk(known=())
    desk.fill(CAPACITY)

    [delay] = desk.fill(1)

    assert delay is not None
    assert "d.example" in str(delay.detail)


async def test_on_one_lane_nothing_is_sent_back() -> None:
    desk = Desk(one_lane=True)

    assert desk.fill(3 * CAPACITY) == [None] * 3 * CAPACITY
    assert desk.intake.returned() == []


async def test_commands_of_partitions_that_left_are_forgotten() -> None:
    desk = Desk()
    here, gone = a_job(partition=1), a_job(partition=2)
    for job in (here, gone):
        desk.intake.admit(job)

    desk.intake.drop([2])

    assert list(desk.ready.waiting.values()) == [here]
    assert desk.driver.board.binding(gone.due.command.id) is None
    assert desk.driver.board.binding(here.due.command.id) is not None


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        (Binding(BindingKind.LOOKUP, "d.example"), "lookup d.example"),
        (
            Binding(BindingKind.MESSAGE_RATE, "mails a mx", "spent", "10/h", 1_800_000_000_000_000, "default.x"),
            "message_rate mails a mx; spent of 10/h; until 2027-01-15 08:00:00 UTC; by default.x",
        ),
        (
            Binding(BindingKind.SUSPENDED, "a mx", "421 4.7.0 blocked", "", None, "default.automation[0]"),
            "suspended a mx; 421 4.7.0 blocked; by default.automation[0]",
        ),
    ],
)
def test_the_detail_says_what_binds(binding: Binding, said: str) -> None:
    assert words(binding) == said

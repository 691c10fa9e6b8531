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
from senders.delivery.lane_intake import LONGEST_REST, LaneIntake, words
from senders.delivery.lane_lines import UNKNOWN
from senders.delivery.ready_queue import CAPACITY, DeliveryJob, ReadyQueue
from senders.policy.pipeline import Delay, DeliveryRequest
from senders.queue.ledger import DueCommand
from senders.queue.lines import line_of
from senders.shaping.actions import ActiveAction
from senders.shaping.bindings import Binding, BindingKind
from senders.shaping.document import ActionKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.loader import parse
from senders.shaping.permits import ClockReading
from senders.shaping.quantities import SendRate
from senders.shaping.sites import Destination

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)


def a_job(domain: str = "d.example", priority: int = 50, partition: int = 0, behind: int | None = None) -> DeliveryJob:
    command = a_command("u1", "h", priority=priority, to=f"ann@{domain}", expires_at=NOW + timedelta(days=1))
    recipient = Recipient("u1", None, None, None, {}, {})
    request = DeliveryRequest(command, NOW, NOW, recipient, frozenset(), NOW, timedelta(seconds=5))
    return DeliveryJob(DueCommand(command, partition, LedgerState.ADMITTED, 0, NOW, NOW, behind=behind), request)


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
        self.intake = LaneIntake(
            self.driver, self.ready, lambda _: "shop.example", one_lane=one_lane, clock=lambda: NOW
        )

    def fill(self, count: int, domain: str = "d.example", priority: int = 50) -> list[Delay | None]:
        return [self.intake.admit(a_job(domain, priority)) for _ in range(count)]


EXPIRES = NOW + timedelta(days=1)
LANE = line_of("default mx.d.example")


async def test_a_lane_keeps_its_share_and_the_rest_waits_in_the_ledger_for_its_turn() -> None:
    desk = Desk("[default]\nmax_message_rate = '10/s'")
    assert desk.fill(CAPACITY) == [None] * CAPACITY
    assert len(desk.ready.waiting) == CAPACITY

    delays = [delay for delay in desk.fill(10) if delay is not None]

    assert {(delay.reason, delay.until, delay.behind) for delay in delays} == {(DeliveryReason.LIMITED, EXPIRES, LANE)}
    assert len(delays) == 10
    assert len(desk.ready.waiting) == CAPACITY
    assert desk.intake.wanted(1000) == {}, "the lane has no room"


async def test_a_lane_with_room_takes_the_head_of_its_line_and_nobody_overtakes_it() -> None:
    desk = Desk()
    desk.fill(CAPACITY + 10)
    for command_id in list(desk.ready.waiting)[: CAPACITY // 2]:
        desk.intake._take_out(command_id)

    assert desk.fill(1) != [None], "it came later than those in the line"
    assert desk.fill(1, priority=90) == [None], "it comes before them"
    assert desk.intake.wanted(1000) == {}
    [command_id, *_] = desk.ready.waiting
    desk.intake._take_out(command_id)
    assert desk.intake.wanted(1000) == {LANE: CAPACITY // 2}
    assert desk.intake.wanted(5) == {LANE: 5}
    assert desk.intake.admit(a_job(behind=LANE)) is None, "it comes from the line"

    desk.intake.came({LANE: 5}, [])
    assert desk.intake.wanted(1000) == {}, "the line has ended"


async def test_a_full_lane_holds_up_no_other() -> None:
    desk = Desk(known=("d.example", "other.example"))
    desk.fill(CAPACITY + 10)

    assert desk.fill(1, "other.example") == [None]


async def test_what_comes_before_all_that_waits_has_room_on_a_full_lane() -> None:
    desk = Desk()
    desk.fill(CAPACITY)

    assert desk.fill(1, priority=90) == [None]
    assert desk.fill(1, priority=50) != [None]


async def test_of_a_slow_lane_only_what_can_begin_soon_comes_into_memory() -> None:
    desk = Desk("[default]\nmax_message_rate = '6/m'")
    desk.fill(CAPACITY + 10)
    desk.driver.board.decide(ClockReading(1, 1))  # now the lane knows its rate
    for command_id in list(desk.ready.waiting):
        desk.intake._take_out(command_id)

    assert desk.intake.wanted(1000) == {LANE: 1}


@pytest.mark.parametrize(("end_s", "rest_s"), [(600, 600), (None, LONGEST_REST.total_seconds())])
async def test_a_line_at_a_limit_rests_until_its_next_permit_at_most_a_while_and_not_after_its_end(
    end_s: int | None, rest_s: float
) -> None:
    desk, job = Desk("[default]\nmax_message_rate = '1/h'"), a_job()
    desk.intake.admit(job)
    [(lane, _)] = desk.driver.board.lanes()
    if end_s is not None:
        until_us = round((NOW.timestamp() + end_s) * SECOND_US)
        slow, target = {"max_message_rate": SendRate.parse("1/h")}, ("lane", lane.key.source, lane.key.site)
        desk.driver.board.act([ActiveAction(target, ActionKind.SET, "a rule", 1, until_us, slow)])
    desk.driver.board.decide(ClockReading(1, 1))  # now the lane knows its rate
    spent = Binding(BindingKind.MESSAGE_RATE, "mails x", limit="1/h", until_us=1 + 3600 * SECOND_US)

    delay = desk.intake._delay(job, desk.intake._mail_of(job), spent, 1)

    assert delay.behind == line_of("mails x")
    assert desk.intake._lines.wanted(9, NOW + timedelta(seconds=rest_s - 1)) == {}
    assert desk.intake._lines.wanted(9, NOW + timedelta(seconds=rest_s)) == {delay.behind: 1}
    desk.intake._delay(job, desk.intake._mail_of(job), spent, 1)
    desk.intake.limits_changed()
    assert desk.intake._lines.wanted(9, NOW) == {delay.behind: 1}


@pytest.mark.parametrize(("limit", "most"), [("10/h", 1), ("1/s", 10)])
async def test_of_a_line_at_a_limit_no_more_comes_before_half_of_what_came_has_begun(limit: str, most: int) -> None:
    desk, job = Desk(), a_job()
    spent = Binding(BindingKind.MESSAGE_RATE, "mails x", limit=limit, until_us=1)
    line = desk.intake._delay(job, desk.intake._mail_of(job), spent, 1).behind
    assert line is not None
    assert desk.intake.wanted(1000) == {line: most}
    for _ in range(most):
        assert desk.intake.admit(a_job(behind=line)) is None

    assert desk.intake.wanted(1000) == {}, "they wait in memory"

    for command_id in list(desk.ready.waiting)[: most - most // 2]:
        desk.ready.begin(command_id)
    assert desk.intake.wanted(1000) == {line: most - most // 2}


async def test_of_a_line_of_which_nothing_is_known_no_more_comes_before_half_of_what_came_has_begun() -> None:
    desk = Desk()
    desk.intake.lines_found([7])
    for _ in range(UNKNOWN):
        desk.intake.admit(a_job(behind=7))

    assert desk.intake.wanted(1000) == {}

    for command_id in list(desk.ready.waiting)[: UNKNOWN // 2]:
        desk.intake._take_out(command_id)
    assert desk.intake.wanted(1000) == {7: UNKNOWN // 2}


async def test_the_line_of_a_suspended_lane_rests_until_the_suspension_ends() -> None:
    desk, job = Desk(), a_job()
    suspended = Binding(BindingKind.SUSPENDED, "another mx", "421 blocked", until_us=1 + 7200 * SECOND_US)

    delay = desk.intake._delay(job, desk.intake._mail_of(job), suspended, 1)

    assert (delay.behind, delay.until) == (LANE, EXPIRES)
    assert desk.intake._lines.wanted(9, NOW + timedelta(hours=2) - timedelta(seconds=1)) == {}
    assert desk.intake._lines.wanted(9, NOW + timedelta(hours=2)) == {LANE: 9}


async def test_a_mail_behind_others_says_what_blocks_those_and_until_when() -> None:
    desk, job = Desk(), a_job()
    blocked = Binding(BindingKind.SUSPENDED, "default mx.d.example", "554 bad reputation", until_us=1 + 60 * SECOND_US)
    desk.intake._delay(job, desk.intake._mail_of(job), blocked, 1)

    [first, second] = desk.fill(2)

    for delay in (first, second):
        assert delay is not None
        assert delay.behind == LANE
        assert f"; {words(blocked)}" in str(delay.detail)
    assert desk.intake.rests_for(LANE) == blocked, "also a mail that came before the block can say so"
    desk.intake._clock = lambda: NOW + timedelta(minutes=2)
    [after] = desk.fill(1)
    assert after is not None
    assert "reputation" not in str(after.detail), "the block has ended"
    assert desk.intake.rests_for(LANE) is None


async def test_of_a_line_that_another_worker_left_a_few_come_and_say_what_it_is() -> None:
    desk = Desk()

    desk.intake.lines_found([LANE, 7])

    assert desk.intake.wanted(1000) == {LANE: UNKNOWN, 7: UNKNOWN}
    assert [delay and delay.behind for delay in desk.fill(1)] == [LANE], "there may be others before it"


async def test_the_mails_of_a_domain_that_is_not_known_have_one_share() -> None:
    desk = Desk(known=())
    desk.fill(CAPACITY)

    [delay] = desk.fill(1)

    assert delay is not None
    assert "d.example" in str(delay.detail)
    assert delay.behind == line_of("d.example")
    assert desk.intake.wanted(1000) == {}, "they are being looked up"
    desk.driver.board.looked_up(Destination.of("d.example", ["mx.d.example"]))
    assert desk.intake.wanted(1000) == {delay.behind: CAPACITY}


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

"""Which mail begins on which lane, and what the others wait for."""

from collections import Counter

from drivers.lane_world import FREE, LaneWorld

from senders.shaping.bindings import BindingKind
from senders.shaping.gcra import SECOND_US, PermitRequest
from senders.shaping.lane_limits import connection_limits
from senders.shaping.loader import parse
from senders.shaping.permits import ClockReading


def test_mails_begin_by_priority_and_then_by_due_time() -> None:
    world = LaneWorld("[default]\nmax_message_rate = '10/s'")
    for number in range(20):
        world.mail(number)
    world.run(0.5)
    world.mail(100, purpose="transactional", priority=90)

    assert world.run(0.3)[0].mail.id == "m100"


def test_a_high_priority_goes_first_among_lanes_that_share_a_limit() -> None:
    world = LaneWorld(FREE + "[trigger.t]\nmax_message_rate = '10/s'\n")
    for number in range(20):
        world.mail(number, "d.example")
    world.mail(100, "other.example", priority=90)

    assert world.run(0.05)[0].mail.id == "m100"


def test_a_lane_keeps_to_its_rate_and_says_what_binds() -> None:
    world = LaneWorld("[default]\nmax_message_rate = '10/s'\nconnection_limit = 100\nmax_connection_rate = '1000/s'")
    last = [world.mail(number) for number in range(40)][-1]

    begun = world.run(2)

    assert 19 <= len(begun) <= 21
    binding = world.binding(last)
    assert (binding.kind, binding.limit, binding.set_by) == (
        BindingKind.MESSAGE_RATE,
        "10/s",
        "default.max_message_rate",
    )
    assert binding.until_us is not None
    assert world.now_us - 10_000 <= binding.until_us <= world.now_us + 200_000


def test_all_lanes_of_a_source_share_the_limits_of_a_provider() -> None:
    text = FREE + "[provider.p]\nmatch = [{mx_suffix = '.example'}]\nprovider_max_message_rate = '20/s'\n"
    world = LaneWorld(text)
    for number in range(200):
        world.mail(number, f"d{number % 4}.example")

    assert 38 <= len(world.run(2)) <= 41


def test_a_purpose_has_a_limit_of_its_own_that_holds_up_no_other() -> None:
    world = LaneWorld(FREE + "[purpose.marketing]\nmax_message_rate = '5/s'\n")
    for number in range(50):
        world.mail(number)
    world.mail(100, purpose="transactional", priority=10)

    begun = Counter(begin.mail.kind.purpose for begin in world.run(1))

    assert begun["transactional"] == 1
    assert 4 <= begun["marketing"] <= 6


def test_no_more_connections_are_opened_than_allowed() -> None:
    world = LaneWorld(FREE.replace("50", "3"))
    mails = [world.mail(number) for number in range(100)]

    world.run(1)

    assert max(world.most_on_the_way.values()) == 3
    assert len(world.opens) == 3
    binding = world.binding(mails[-1])
    assert (binding.kind, binding.limit, binding.set_by) == (
        BindingKind.CONNECTIONS,
        "3",
        "default.connection_limit",
    )


def test_a_connection_is_opened_no_faster_than_allowed() -> None:
    world = LaneWorld(FREE.replace('max_connection_rate = "100000/s"', 'max_connection_rate = "60/m"'))
    mails = [world.mail(number) for number in range(100)]

    world.run(3, takes_us=60 * SECOND_US)

    assert 2 <= len(world.opens) <= 3
    assert world.binding(mails[-1]).kind is BindingKind.CONNECTION_RATE


def test_one_connection_is_opened_for_one_mail() -> None:
    world = LaneWorld(FREE)
    world.mail(1)

    world.run(1)

    assert len(world.opens) == 1


def test_a_purpose_that_no_pool_takes_waits_until_the_file_has_one() -> None:
    text = FREE + "[source.a]\n[pool.p]\nsources = ['a']\npurposes = ['digest']\n"
    world = LaneWorld(text)
    mail = world.mail(1)
    assert world.run(1) == []
    assert world.binding(mail).kind is BindingKind.NO_POOL

    world.board.reshape(parse(text.replace("digest", "marketing").encode(), "f"))

    assert [begin.mail.id for begin in world.run(1)] == [mail.id]


def test_a_new_file_is_in_force_for_mails_that_wait() -> None:
    world = LaneWorld("[default]\nmax_message_rate = '1/s'\n")
    for number in range(50):
        world.mail(number)
    assert len(world.run(2)) <= 3

    world.board.reshape(parse(FREE.encode(), "f"))

    assert len(world.run(3)) >= 45


def test_a_mail_that_was_removed_never_begins() -> None:
    world = LaneWorld("[default]\nmax_message_rate = '1/s'\n")
    mails = [world.mail(number) for number in range(5)]
    unknown = world.mail(9, "other.example")
    for mail in [*mails[1:], unknown]:
        world.board.remove(mail.id)

    assert [begin.mail.id for begin in world.run(10)] == ["m0"]


class SilentWorld(LaneWorld):
    """Its limits answer only as long as they are not `silent`."""

    silent = False

    def _grant(self, request: PermitRequest) -> None:
        if not self.silent:
            super()._grant(request)


def test_while_no_limit_answers_nothing_is_decided_again_and_again() -> None:
    world = SilentWorld("[default]\nmax_message_rate = '2/s'")
    for number in range(20):
        world.mail(number)
    world.run(5)
    world.silent = True
    world.run(5)

    decision = world.board.decide(ClockReading(world.now_us, world.now_us))

    assert decision.wake_us is None or decision.wake_us > world.now_us + 10_000


def test_lanes_without_mails_are_forgotten_and_found_again() -> None:
    world = LaneWorld(FREE)
    for number in range(10):
        world.mail(number, f"d{number}.example")
    world.run(1)
    for lane, _ in list(world.board.lanes()):
        for _ in range(lane.open):
            world.board.closed(lane.key)
    world.run(1)

    for _ in range(2):
        world.board.drop_unused(world.now_us)
    assert list(world.board.lanes()) == []

    world.mail(100, "d1.example")
    assert [begin.mail.id for begin in world.run(1)] == ["m100"]


def test_a_lane_with_mails_is_not_forgotten() -> None:
    world = LaneWorld(FREE.replace("100000/s", "1/h", 1))
    for number in range(10):
        world.mail(number)
    world.run(1)

    for _ in range(3):
        world.board.drop_unused(world.now_us)

    assert [len(lane.queue) for lane, _ in world.board.lanes()] == [9]


def test_two_providers_that_meet_at_one_site_keep_their_own_rates() -> None:
    world = LaneWorld(
        FREE
        + """
        [provider.one]
        match = [{domain_suffix = ".one.example"}]
        max_message_rate = "10/s"
        connection_limit = 3
        [provider.two]
        match = [{domain_suffix = ".two.example"}]
        max_message_rate = "2/s"
        connection_limit = 1
        """
    )
    world.mx = {name: ["mx.shared.example"] for name in ("a.one.example", "a.two.example", "free.example")}
    for number in range(150):
        world.mail(number, ["a.one.example", "a.two.example", "free.example"][number % 3])

    began = Counter(begin.mail.domain for begin in world.run(4))

    assert 38 <= began["a.one.example"] <= 42
    assert 7 <= began["a.two.example"] <= 9
    assert began["free.example"] == 50
    assert world.most_on_the_way["default mx.shared.example of two"] == 1
    limits = {each.paced.name for lane, _ in world.board.lanes() for each in lane.rates}
    assert limits == {f"mails default mx.shared.example{of}" for of in ("", " of one", " of two")}
    names = [name for lane, _ in world.board.lanes() for name, _ in connection_limits(lane.egress, lane.keys)]
    assert len(names) == len(set(names)), "each has slots of its own"

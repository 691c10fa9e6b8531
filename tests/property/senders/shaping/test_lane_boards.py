"""Whatever happens, lanes keep to their limits, nothing begins where it may not, and nothing is forgotten."""

from bisect import bisect_left

from drivers.lane_world import TAKEN, LaneWorld
from hypothesis import given, settings
from hypothesis import strategies as st

from senders.shaping.document import ActionKind
from senders.shaping.gcra import SECOND_US
from senders.shaping.lane_decider import LaneBegin

FILE = """
[default]
max_message_rate = "50/s"
max_connection_rate = "600/m"
connection_limit = 4
[[default.automation]]
pattern = 'blocked'
trigger = "2/m"
action = "suspend"
duration = "20s"
[[default.automation]]
pattern = 'slow'
action = {set = {max_message_rate = "2/s"}}
duration = "5s"
[provider.p]
match = [{mx_suffix = ".p.example"}]
provider_max_message_rate = "30/s"
[purpose.digest]
max_message_rate = "10/s"
[source.a]
[source.b]
[source.c]
[pool.bulk]
sources = ["a", "b"]
purposes = ["marketing"]
[pool.rest]
sources = ["c"]
"""
REPLIES = st.sampled_from([TAKEN, TAKEN, TAKEN, "421 4.7.0 blocked", "451 slow down", "450 4.2.2 full"])
DOMAINS = st.sampled_from(["one.example", "two.example", "x.p.example", "y.p.example"])
STEPS = st.lists(
    st.tuples(
        st.lists(st.tuples(DOMAINS, st.sampled_from(["marketing", "digest", "transactional"])), max_size=30),
        st.integers(1, 3000),
        st.lists(REPLIES, min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=6,
)


def most_within(times_us: list[int], window_us: int) -> int:
    return max((bisect_left(times_us, at + window_us) - number for number, at in enumerate(times_us)), default=0)


class WatchedWorld(LaneWorld):
    """Fails where a mail begins that may not."""

    def __init__(self) -> None:
        super().__init__(FILE)
        self.replies = [TAKEN]
        self.answers = self._reply
        self.expected: set[str] = set()

    def _reply(self, begin: LaneBegin) -> str:
        return self.replies[int(begin.mail.id[1:]) % len(self.replies)]

    def check_beginnings(self, begun: list[LaneBegin]) -> None:
        """Each mail once, from its pool."""
        for begin in begun:
            assert begin.mail.id in self.expected
            self.expected.remove(begin.mail.id)
            assert begin.lane.source in (["a", "b"] if begin.mail.kind.purpose == "marketing" else ["c"])

    def play(self, steps: list[tuple[list[tuple[str, str]], int, list[str]]]) -> None:
        for mails, milliseconds, replies in steps:
            self.replies = replies
            for domain, purpose in mails:
                number = len(self.begun) + len(self.expected)
                self.expected.add(self.mail(number, domain, purpose).id)
            self.check_beginnings(self.run(milliseconds / 1000, tick_us=7_000))


@given(STEPS)
@settings(max_examples=40)
def test_no_limit_is_exceeded(steps: list[tuple[list[tuple[str, str]], int, list[str]]]) -> None:
    world = WatchedWorld()
    world.play(steps)

    assert max(world.most_on_the_way.values(), default=0) <= 4
    limits = {
        "lane": (50, lambda begin: str(begin.lane)),
        "provider": (30, lambda begin: begin.lane.provider and f"{begin.lane.source} {begin.lane.provider}"),
        "digest": (10, lambda begin: begin.mail.kind.purpose == "digest" and "digest"),
    }
    for limit, name_of in limits.values():
        times: dict[str, list[int]] = {}
        for at_us, begin in world.begun:
            if name := name_of(begin):
                times.setdefault(str(name), []).append(at_us)
        assert all(most_within(each, SECOND_US) <= limit + 1 for each in times.values())


@given(STEPS)
@settings(max_examples=40)
def test_every_mail_begins_once_the_servers_take_mails_again(
    steps: list[tuple[list[tuple[str, str]], int, list[str]]],
) -> None:
    world = WatchedWorld()
    world.play(steps)
    world.replies = [TAKEN]

    world.check_beginnings(world.run(90, tick_us=20_000))

    assert world.expected == set()


@given(STEPS)
@settings(max_examples=40)
def test_what_waits_can_say_what_it_waits_for(
    steps: list[tuple[list[tuple[str, str]], int, list[str]]],
) -> None:
    world = WatchedWorld()
    world.play(steps)

    for mail_id in world.expected:
        binding = world.board.binding(mail_id)
        assert binding is not None
        if binding.until_us is not None:
            assert binding.until_us > world.now_us - 1_000_000


@given(STEPS)
@settings(max_examples=40)
def test_a_suspended_lane_begins_nothing(
    steps: list[tuple[list[tuple[str, str]], int, list[str]]],
) -> None:
    world = WatchedWorld()
    decide = world._decide

    def watched() -> None:
        stopped = {
            str(lane.key): world.board.actions.stops(lane.targets.values(), ActionKind.SUSPEND, world.now_us)
            for lane, _ in world.board.lanes()
        }
        first = len(world.begun)
        decide()
        for _, begin in world.begun[first:]:
            assert stopped.get(str(begin.lane)) is None

    world._decide = watched
    world.play(steps)


@given(STEPS)
@settings(max_examples=20)
def test_the_same_events_give_the_same_decisions(
    steps: list[tuple[list[tuple[str, str]], int, list[str]]],
) -> None:
    one, other = WatchedWorld(), WatchedWorld()
    one.play(steps)
    other.play(steps)

    assert [(at, str(begin.lane), begin.mail.id) for at, begin in one.begun] == [
        (at, str(begin.lane), begin.mail.id) for at, begin in other.begun
    ]

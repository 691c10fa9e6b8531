"""The fast path and decisions at once give what the general path gives, to the byte, and take what they can take."""

from typing import Any

from drivers.trigger_world import World, at
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.rules.encoding import decode, encode

DEFINITIONS = {
    "exponential": "score: warm\ndecay: {curve: exponential, half_life: 2h}\nadd: {event: [view, buy], points: 1}\n",
    "ceiling": "score: low\ndecay: {curve: exponential, half_life: 1d}\nceiling: 3\nadd: {event: view, points: 2}\n",
    "linear": "score: line\ndecay: {curve: linear, lifetime: 3h}\nadd: {event: view, points: event.n}\n",
    "step": "score: stair\ndecay: {curve: step, lifetime: 1h}\nadd:\n"
    "  - {event: view, points: 1}\n  - {event: view, where: event.n > 1, points: 2}\n",
    "power": "score: tail\ndecay: {curve: power, scale: 1h, exponent: 1.5}\nadd: {event: buy, points: event.n + 1}\n",
    "counted": "metric: views\nevent: view\nwithin: 2h\n",
    "calendar": "metric: daily\nevent: view\nwhere: event.k == 'a'\nwithin: calendar day\n",
    "spent": "metric: spent\nevent: buy\nsum: event.n\ndistinct: event.k\nwithin: 1d\n",
    "rising": "trigger: hot\npurpose: news\non: {score: warm, reaches: 3}\nsend: a\n",
    "often": "trigger: often\npurpose: news\non: {event: view, within: 1h, reaches: 3, rearm: 1}\nsend: a\n",
    "spends": "trigger: spends\npurpose: news\non: {event: buy, within: 1h, sum: event.n, reaches: 5}\nsend: a\n",
    "kinds": "trigger: kinds\npurpose: news\non: {event: view, within: 3h, distinct: event.k, reaches: 2}\nsend: a\n",
    "groups": "trigger: same\npurpose: news\non: {event: view, same: k, within: 1h, reaches: 2}\nsend: a\n",
    "falling": "trigger: cold\npurpose: news\non: {score: low, falls_below: 1}\nsend: a\n",
    "bought": "trigger: thanks\npurpose: news\non: {event: buy, where: event.n >= 2}\nafter: 1h\nsend: a\n",
    "each": "trigger: each\npurpose: news\non: buy\nwhen: event.n > 1\ncap: {max: 2, per: 1d}\nsend: a\n",
    "keen": "trigger: keen\npurpose: news\non: {event: view, where: event.n >= 2}\nwhen: score.warm > 2\n"
    "cap: {max: 1, per: 2h, over: defer}\nsend: {template: a, data: {n: event.n, k: event.k}}\n",
    "picky": "trigger: picky\npurpose: news\non: {event: [view, buy], where: event.k == 'a'}\nmode: shadow\n"
    "quiet: {from: '12:00', to: '14:00'}\ncap: {max: 3, per: 1d, scope: purpose}\nsend: a\n"
    "goal: {event: start, within: 1d}\n",
    "held out": "trigger: few\npurpose: transactional\non: view\nholdout: 50%\nexpires: 20m\nsend: a\n",
    "unless": "trigger: left\npurpose: news\non: start\nafter: 1h\nunless: buy\nsend: a\n",
    "daily": "trigger: tick\npurpose: news\non: {every: day, at: '10:00'}\nsend: a\n",
    "segment": "segment: fans\nwhen: score.warm >= 2\n",
    "goal": "trigger: asks\npurpose: news\non: start\nsend: a\ngoal: {event: buy, within: 1d}\n",
}
NEEDS = {"rising": "exponential", "keen": "exponential", "falling": "ceiling", "segment": "exponential"}
MINUTE = 60_000
VALUES = st.one_of(st.integers(-1, 4), st.sampled_from(["a", "b", None, 1.5, True]))
EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["view", "view", "buy", "start"]),
        st.integers(0, 90),  # minutes since the event before
        st.sampled_from([0, 0, 0, 5, 200, -3, -30]),  # minutes that it is older than its arrival
        st.sampled_from(["", "", "", "", "again"]),
        st.fixed_dictionaries({}, optional={"n": VALUES, "k": VALUES}),
    ),
    min_size=1,
    max_size=25,
)


def text_of(names: set[str]) -> str:
    chosen = names | {NEEDS[name] for name in names if name in NEEDS}
    return "---\n".join(DEFINITIONS[name] for name in DEFINITIONS if name in chosen)


@settings(deadline=None)
@given(st.sets(st.sampled_from(sorted(DEFINITIONS)), min_size=1, max_size=7), EVENTS, st.booleans(), st.booleans())
def test_both_paths_give_the_same_bytes(
    names: set[str], events: list[tuple[str, int, int, str, dict[str, Any]]], known: bool, recode: bool
) -> None:
    world = World(text_of(names), known=known, consent=("news",))
    arrival = at("2026-01-05 08:00")
    for number, (name, gap, age, own_id, properties) in enumerate(events):
        arrival += gap * MINUTE
        world.event(arrival - age * MINUTE, name, arrives=arrival, event_id=own_id or f"e{number}", **properties)
        if recode:
            world.state = decode("u1", encode(world.state)[0])


def test_events_that_only_count_take_the_fast_path() -> None:
    world = World(text_of({"exponential", "counted", "spent", "rising", "often", "bought"}), consent=("news",))
    for number in range(40):
        world.event(at("2026-01-05 08:00") + number * 200 * MINUTE, ("view", "buy")[number % 2], n=1, k="a")
    assert world.paths.fast == 40


def test_events_that_begin_one_send_are_decided_at_once() -> None:
    world = World(text_of({"exponential", "counted", "each", "picky"}), consent=("news",))
    for number in range(40):
        world.event(at("2026-01-05 15:00") + number * 10 * MINUTE, ("view", "buy")[number % 2], n=number % 4, k="b")
    assert (world.paths.fast, world.paths.at_once) == (20, 20)
    assert {str(each.outcome) for each in world.decisions} == {"send", "drop"}

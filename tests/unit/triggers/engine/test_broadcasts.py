"""Events without a user reach the occurrences that wait for them by `same`, and nothing else."""

from drivers.trigger_world import World, at
from msgspec.structs import replace

from triggers.rules.encoding import encode
from triggers.rules.events import StoredEvent

RULES = """
trigger: waitlist
purpose: marketing
on: out_of_stock_viewed
key: event.product
after: 1d
unless: {event: restocked, same: product}
send: a
"""


def waiting(rules: str = RULES) -> World:
    world = World(rules)
    world.event("2026-01-05 10:00", "out_of_stock_viewed", product="lamp")
    return world


def test_an_occurrence_ends_by_an_event_without_a_user_that_agrees_with_its_entry():
    world = waiting()
    world.event("2026-01-05 10:00", "out_of_stock_viewed", product="vase")
    world.broadcast("2026-01-05 12:00", "restocked", product="lamp")
    world.until("2026-01-07 00:00")
    assert [(each.event_type, each.occurrence) for each in world.exits] == [("restocked", '["lamp","e1"]')]
    assert len(world.sent) == 1
    assert world.counts["reached"] == 1


def test_one_event_meets_every_occurrence_that_waits_for_it():
    world = waiting(RULES.replace("key: event.product\n", ""))
    world.event("2026-01-05 11:00", "out_of_stock_viewed", product="lamp")
    world.broadcast("2026-01-05 12:00", "restocked", product="lamp")
    assert len(world.exits) == 2
    assert world.counts["reached"] == 1


def test_a_pattern_without_same_hears_no_event_without_a_user():
    world = waiting(RULES.replace("{event: restocked, same: product}", "restocked"))
    world.broadcast("2026-01-05 12:00", "restocked", product="lamp")
    world.until("2026-01-07 00:00")
    assert (len(world.exits), len(world.sent)) == (0, 1)


def test_it_counts_from_the_instant_of_entry_on():
    world = waiting()
    world.broadcast("2026-01-05 09:59:59", "restocked", arrives="2026-01-05 10:01", product="lamp")
    assert world.exits == []
    world.broadcast("2026-01-05 10:00", "restocked", arrives="2026-01-05 10:02", product="lamp")
    assert len(world.exits) == 1


def test_it_ends_what_is_due_at_its_instant_and_not_what_was_due_before():
    world = waiting()
    world.broadcast("2026-01-06 10:00", "restocked", product="lamp")
    assert (len(world.exits), world.sent) == (1, [])
    world = waiting()
    world.broadcast("2026-01-06 10:00:00.001", "restocked", product="lamp")
    assert (world.exits, len(world.sent)) == ([], 1)


def test_an_occurrence_that_enters_later_is_not_met():
    world = World(RULES)
    world.broadcast("2026-01-05 10:00", "restocked", product="lamp")
    world.event("2026-01-05 10:00", "out_of_stock_viewed", product="lamp")
    world.until("2026-01-07 00:00")
    assert len(world.sent) == 1


def test_a_repeated_id_changes_nothing():
    world = waiting()
    world.broadcast("2026-01-05 10:05", "restocked", event_id="r", product="lamp")
    world.event("2026-01-05 10:06", "out_of_stock_viewed", product="lamp")
    world.broadcast("2026-01-05 10:07", "restocked", event_id="r", product="lamp")
    world.until("2026-01-07 00:00")
    assert len(world.sent) == 1
    assert world.counts["duplicate"] == 1


def test_an_event_that_nobody_waits_for_leaves_the_state_as_it_was():
    world = waiting()
    before = world.encoded()
    world.broadcast("2026-01-05 10:05", "restocked", product="vase")
    world.broadcast("2026-01-05 10:05", "discontinued", product="lamp")
    assert world.encoded() == before


def test_it_feeds_nothing_and_begins_nothing():
    world = World(
        "score: warm\ndecay: {curve: exponential, half_life: 1d}\nadd: {event: restocked, points: '1'}\n---\n"
        + RULES
        + "goal: {event: restocked, within: 2d}\n"
        "---\ntrigger: back\npurpose: marketing\non: restocked\nsend: b\n"
    )
    world.event("2026-01-05 10:00", "out_of_stock_viewed", product="lamp")
    world.until("2026-01-06 10:00")
    world.broadcast("2026-01-06 11:00", "restocked", product="lamp")
    assert [trigger for _, trigger, _ in world.sent] == ["waitlist"]
    assert [each.outcome for each in world.decisions] == ["send"]
    assert world.state.scores == {}


def test_its_where_reads_the_event_the_user_and_the_occurrence():
    where = 'where: event.price < user.limit && occurrence.key == "lamp"'
    world = World(RULES.replace("same: product", f"same: product, {where.replace(chr(34), chr(39))}"), limit=10)
    world.event("2026-01-05 10:00", "out_of_stock_viewed", product="lamp")
    world.broadcast("2026-01-05 11:00", "restocked", product="lamp", price=12)
    assert world.exits == []
    world.broadcast("2026-01-05 12:00", "restocked", product="lamp", price=9)
    assert len(world.exits) == 1


def test_a_where_that_fails_drops_the_send():
    world = waiting(RULES.replace("same: product", "same: product, where: event.price < 10"))
    world.broadcast("2026-01-05 11:00", "restocked", product="lamp")
    assert world.decided == [("2026-01-05 11:00:00", "drop condition_error")]


def test_an_occurrence_of_an_earlier_text_waits_by_that_text():
    world = waiting()
    world.edit("2026-01-05 11:00", RULES.replace("restocked", "discontinued"), RULES)
    world.broadcast("2026-01-05 12:00", "discontinued", product="lamp")
    assert world.exits == []
    world.broadcast("2026-01-05 12:00", "restocked", product="lamp")
    assert len(world.exits) == 1


def test_a_time_ahead_of_the_clock_is_the_clocks():
    world = waiting()
    world.broadcast("2026-01-05 14:00", "restocked", arrives="2026-01-05 12:00", product="lamp")
    assert len(world.exits) == 1


JOURNEY = """
trigger: back
purpose: marketing
on: out_of_stock_viewed
key: event.product
steps:
  - wait: 1h
  - wait_for: {event: restocked, same: product}
    up_to: 2d
    then:
      - send: {template: a, data: {price: occurrence.matched.price}}
    else:
      - send: b
"""


def test_a_journey_that_waits_for_it_continues_at_once():
    world = waiting(JOURNEY)
    world.broadcast("2026-01-05 12:00", "restocked", product="vase", price=1)
    world.broadcast("2026-01-05 13:00", "restocked", product="lamp", price=9)
    world.broadcast("2026-01-05 14:00", "restocked", product="lamp", price=8)
    assert world.sent == [("2026-01-05 13:00:00", "back", "a")]
    assert world.commands[0].data == {"price": 9}
    assert world.state.running == []


def test_a_journey_that_comes_to_its_wait_later_has_seen_it_already():
    world = waiting(JOURNEY)
    world.broadcast("2026-01-05 10:30", "restocked", product="lamp", price=9)
    world.until("2026-01-05 11:00")
    assert world.sent == [("2026-01-05 11:00:00", "back", "a")]


def test_a_journey_that_waits_without_same_does_not_hear_it():
    world = waiting(JOURNEY.replace("{event: restocked, same: product}", "restocked"))
    world.broadcast("2026-01-05 13:00", "restocked", product="lamp", price=9)
    world.until("2026-01-08 00:00")
    assert world.sent == [("2026-01-07 11:00:00", "back", "b")]


def test_one_that_nobody_waits_for_fires_no_timer_and_one_that_somebody_waited_for_does() -> None:
    world, noon = waiting(), at("2026-01-06 12:00")  # two hours after the wait is over
    before = encode(world.state)
    of_another = StoredEvent("r1", "restocked", noon, "", {"product": "vase"})
    assert world.evaluator.apply_broadcast(world.state, of_another, noon) is None
    assert encode(world.state) == before
    effects = world.evaluator.apply_broadcast(world.state, replace(of_another, properties={"product": "lamp"}), noon)
    assert effects is not None
    assert [(each.outcome, each.at_ms) for each in effects.records] == [("send", noon)]
    assert effects.counts == {}

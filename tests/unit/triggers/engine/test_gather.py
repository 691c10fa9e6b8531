"""`overlap: gather`: entries of a running key are added to `occurrence.events`."""

from drivers.trigger_world import World, at
from drivers.user_states import contents

from triggers.rules.encoding import decode, encode
from triggers.rules.state import MAX_GATHERED

DIGEST = """
trigger: t
purpose: marketing
on: comment
key: event.post
overlap: gather
after: 1h
%s
send: {template: a, data: {count: size(occurrence.events), names: "occurrence.events.map(e, e.author)"}}
"""


def world(text: str = DIGEST % "") -> World:
    """A world with an entry at 10:00 and one at 10:30, for which the first is not started again."""
    made = World(text)
    made.event("2026-01-05 10:00", "comment", post="p", author="Ada")
    made.event("2026-01-05 10:30", "comment", post="p", author="Bo")
    return made


def test_entries_are_gathered_and_the_first_keeps_its_time_and_its_event() -> None:
    gathering = world(DIGEST.replace("count:", "first: event.author, count:") % "")
    gathering.event("2026-01-05 10:40", "comment", post="q", author="Cy")
    gathering.until("2026-01-05 11:00")
    assert gathering.sent == [("2026-01-05 11:00:00", "t", "a")]
    assert gathering.commands[0].data == {"first": "Ada", "count": 2, "names": ["Ada", "Bo"]}
    assert gathering.decisions[0].event_ids == ["e1"]


def test_an_entry_after_the_end_begins_anew() -> None:
    gathering = world()
    gathering.event("2026-01-05 11:00:00.001", "comment", post="p", author="Cy")
    gathering.until("2026-01-05 13:00")
    assert [command.data["names"] for command in gathering.commands] == [["Ada", "Bo"], ["Cy"]]


def test_a_late_entry_is_gathered_too_in_the_order_of_arrival() -> None:
    gathering = world()
    gathering.event("2026-01-05 09:30", "comment", arrives="2026-01-05 10:45", post="p", author="Cy")
    gathering.until("2026-01-05 11:00")
    assert gathering.commands[0].data["names"] == ["Ada", "Bo", "Cy"]


def test_a_gathered_event_is_a_map_whose_envelope_wins() -> None:
    gathering = World(DIGEST.replace("e.author", "e") % "")
    gathering.event("2026-01-05 10:00", "comment", post="p", type="mine", n=2.0, event_id="e")
    gathering.until("2026-01-05 11:00")
    [found] = gathering.commands[0].data["names"]
    envelope = {"id": "e", "type": "comment", "source": "", "time": "2026-01-05T10:00:00Z"}
    assert found == {"post": "p", "n": 2} | envelope


def test_a_wait_for_an_event_and_entries_remember_side_by_side() -> None:
    steps = "steps: [{wait_for: like, up_to: 1d}, {send: {template: a, data: {n: size(occurrence.events)}}}]"
    gathering = World(DIGEST.partition("after")[0] + steps)
    gathering.event("2026-01-05 10:00", "comment", post="p")
    gathering.event("2026-01-05 10:30", "comment", post="p")
    gathering.event("2026-01-05 11:00", "like")
    assert [command.data for command in gathering.commands] == [{"n": 2}]


def test_reentry_counts_from_the_first_entry() -> None:
    gathering = world(DIGEST % "reentry: 2h")
    for moment in ("11:59", "12:00"):
        gathering.event(f"2026-01-05 {moment}", "comment", post="p", author="Cy")
    gathering.until("2026-01-05 14:00")
    assert [moment[11:16] for moment, _, _ in gathering.sent] == ["11:00", "13:00"]


def test_the_latest_entries_are_kept_and_the_others_counted() -> None:
    gathering = World(DIGEST % "")
    lost = 0
    for number in range(MAX_GATHERED + 5):
        effects = gathering.event(at("2026-01-05 10:00") + number, "comment", post="p", author=f"{number}")
        lost += effects.bounds.get(("t", "gathered events"), 0)
    gathering.until("2026-01-05 11:00")
    assert lost == 5
    assert gathering.commands[0].data["names"] == [f"{n}" for n in range(5, MAX_GATHERED + 5)]


def test_what_was_gathered_survives_its_bytes() -> None:
    gathering = world()
    again = decode("u1", encode(gathering.state)[0])
    assert contents(again) == contents(gathering.state)
    gathering.state = again
    gathering.until("2026-01-05 11:00")
    assert gathering.commands[0].data["names"] == ["Ada", "Bo"]

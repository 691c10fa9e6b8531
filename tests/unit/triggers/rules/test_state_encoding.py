"""State as bytes: read as it was written; another format is refused."""

from dataclasses import replace

import pytest
from drivers.trigger_world import World

from triggers.measures.decay import ScoreState
from triggers.measures.windows import Cell, WindowState
from triggers.rules.encoding import UnknownFormat, decode, due_of, encode
from triggers.rules.events import StoredEvent
from triggers.rules.state import (
    LevelState,
    Link,
    Membership,
    Occurrence,
    OpenGoal,
    Reservation,
    ScheduleState,
    StoredConsent,
    UnlessEvent,
    User,
    UserState,
)

COMMAND = "0" * 32
ENTRY = StoredEvent("e1", "cart", 1767607200000, "web", {"k": "x", "n": 2.5})
STATE = UserState(
    User("u1", "Europe/Berlin", "de", {"vip": True}),
    {"marketing": StoredConsent(True, 1767600000000)},
    True,
    "0011223344556677",
    {"e1": 1767607200000, "e2": 1767607260000},
    {
        "s": ScoreState(1.5, 1767607200000, "e1"),
        "recent": ScoreState(1.0, 1767607200000, "e1", [(1.0, 1767607200000)]),
    },
    {"t#0": LevelState(True, 1767693600000)},
    [
        Occurrence(
            *("cart", "ff00", '["x","e1"]', "x", '"x"', "e1", ENTRY),
            *(1767607200000, "a", 1, 1767610800000, 1767610800000),
        )
    ],
    {"cart": {'"x"': 1767607200000}},
    {"cart": [UnlessEvent(1767607100000, "e0", ["k"], ["x"])]},
    [Reservation(COMMAND, 1767607200000, "send", "thanks", None, "marketing", "email", '["e2"]', "thanks")],
    {"thanks": [COMMAND]},
    [OpenGoal("thanks", "ff00", '["e2"]', "thanks", COMMAND, 1767607200000, 1767780000000, ["x"])],
    profiled=True,
)
NEWEST = replace(
    STATE,
    running=[replace(STATE.running[0], since=1767607200000)],
    plan_version="00ff00ff00ff",
    plans={"daily@0": ScheduleState(1767610800000, 20458, [20456, 20457]), "trial@1": ScheduleState(None, 0, [])},
    windows={
        "t#0": WindowState([1767607100000, 1767607200000], last_event="e1"),
        "spent/sum/distinct": WindowState(
            *([10, 20, 20], [1.5, 0.0, -2.0], ["'a", "5.0", "'a"]),
            *({3: Cell(2, 7.5, 5, 9)}, {"'b": 9}),
        ),
    },
    segment_version="aa11aa11aa11",
    segments={"big": Membership(True, 1767607300000), "near": Membership(False, 1767607300001)},
    links={"pair#0/1": [Link(5, "e1", [0], ["x"], None), Link(6, "e2", [0, 1], ["x"], ENTRY)]},
)
FORMAT_4 = bytes.fromhex(
    "040000019b8d9aefa0dc001493ad4575726f70652f4265726c696ea2646581a3766970c381a96d61726b6574696e6792c3cf0000019b"
    "8d2b8c00c3b03030313132323333343435353636373782a26531cf0000019b8d996900a26532cf0000019b8d9a536082a17394cb3ff8"
    "000000000000cf0000019b8d996900a2653190a6726563656e7494cb3ff0000000000000cf0000019b8d996900a265319192cb3ff000"
    "0000000000cf0000019b8d99690081a374233093c3cf0000019b92bfc500c0919ea463617274a466663030a17895a26531a463617274"
    "cf0000019b8d996900a377656282a16ba178a16ecb4004000000000000a16101cf0000019b8dd05780c0c0c0c0c0c2cf0000019b8d99"
    "690081a46361727481a3227822cf0000019b8d99690081a4636172749194cf0000019b8d97e260a2653091a16b91a1789199d9203030"
    "303030303030303030303030303030303030303030303030303030303030cf0000019b8d996900a473656e64a67468616e6b73c0a96d"
    "61726b6574696e67a5656d61696ca65b226532225da67468616e6b7381a67468616e6b7391009198a67468616e6b73a466663030a65b"
    "226532225da67468616e6b73d9203030303030303030303030303030303030303030303030303030303030303030cf0000019b8d9969"
    "00cf0000019b97e6210091a17882a37423309692cf0000019b8d97e260cf0000019b8d99690090908080a26531b27370656e742f7375"
    "6d2f64697374696e637496930a141493cb3ff8000000000000cb0000000000000000cbc00000000000000093a22761a3352e30a22761"
    "81039402cb401e000000000000050981a2276209a0ac61613131616131316161313182a362696792c3cf0000019b8d9aefa0a46e6561"
    "7292c2cf0000019b8d9aefa1ac30306666303066663030666682a76461696c79403093cf0000019b8dd05780cd4fea92cd4fe8cd4fe9"
    "a7747269616c403193c0009081a87061697223302f31929505a26531910091a178c09506a2653292000191a17895a26531a463617274"
    "cf0000019b8d996900a377656282a16ba178a16ecb400400000000000000"
)


def test_the_bytes_of_this_format_are_read_and_written_to_the_byte() -> None:
    assert decode("u1", FORMAT_4) == NEWEST
    assert encode(NEWEST)[0] == FORMAT_4
    assert due_of(FORMAT_4) == NEWEST.next_due()


def test_occurrence_fields_that_cannot_be_derived_are_written() -> None:
    restarted = replace(
        STATE.running[0], event=StoredEvent("e7", "cart", 1767607200000, "web", {}), held=True, wake=1767614400000
    )
    moved = replace(restarted, entered_at=1767607260000, id="named otherwise", key=["x", 2.5], key_text='["x",2.5]')
    later = replace(STATE, running=[restarted, moved, replace(moved, key=None, key_text=None)])
    assert decode("u1", encode(later)[0]) == later


def test_a_command_without_a_reservation_is_stored_by_its_id() -> None:
    state = replace(STATE, sent={"thanks": ["1" * 32, COMMAND], "gone": ["2" * 32]})
    assert decode("u1", encode(state)[0]) == state


def test_empty_sections_cost_a_byte_each() -> None:
    assert decode("u1", encode(UserState(User("u1")))[0]) == UserState(User("u1"))
    assert len(encode(UserState(User("u1")))[0]) == 9 + 3 + 20


def test_state_without_timers_is_never_due() -> None:
    assert due_of(encode(UserState(User("u1")))[0]) is None


@pytest.mark.parametrize(("raw", "found"), [(b"\x05rest", 5), (b"\x03rest", 3), (b"[]", 91)])
def test_state_of_another_format_is_refused_with_what_to_do(raw: bytes, found: int) -> None:
    message = f"format {found}, and this version of Ebbtide reads format 4: run the version that wrote it, or rebuild"
    with pytest.raises(UnknownFormat, match=message):
        decode("u1", raw)
    with pytest.raises(UnknownFormat, match=message):
        due_of(raw)


def test_encoding_gives_the_next_due_time_that_the_bytes_carry() -> None:
    for state in (NEWEST, UserState(User("u1"))):
        raw, due_ms = encode(state)
        assert due_ms == due_of(raw) == state.next_due()


CART = "trigger: t\npurpose: marketing\non: ping\nafter: 1h\nunless: {event: buy, same: k}\nsend: a\n"


@pytest.mark.parametrize(("key", "ended"), [("x", True), ("y", False)])
def test_what_ended_an_entry_before_it_came_is_read_from_the_bytes(key: str, ended: bool) -> None:
    world = World(CART)
    world.state.unless_events = {"t": [UnlessEvent(world.now + 2, "e0", ["k"], ["x"])]}
    world.state = decode("u1", encode(world.state)[0])
    counts = world.event(world.now + 1, "ping", k=key).counts
    assert counts == ({"ended_before_entry": 1} if ended else {})

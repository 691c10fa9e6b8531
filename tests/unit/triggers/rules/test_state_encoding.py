"""State as bytes: read as it was written; another format is refused."""

import copy
import subprocess
import sys
from typing import Any

import pytest
from drivers.trigger_world import World
from drivers.user_states import contents, state_with
from msgspec import structs

from triggers.measures.decay import ScoreState
from triggers.measures.windows import Cell, WindowState
from triggers.rules.encoding import (
    UnknownFormat,
    decode,
    decode_hot,
    due_of,
    encode,
    encode_hot,
    new_state,
    without_due,
)
from triggers.rules.events import StoredEvent
from triggers.rules.seen import SeenIds
from triggers.rules.state import (
    Journey,
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
LATER = StoredEvent("e3", "order", 1767607300000, "", {"k": "x"})


def seen(ids: dict[str, int]) -> SeenIds:
    remembered = SeenIds()
    for name, at in ids.items():
        assert remembered.add(name, at)
    return remembered


RUNNING = Occurrence(
    *("cart", "ff00", '["x","e1"]', "x", '"x"', "e1", ENTRY),
    *(1767607200000, "a", 1, 1767610800000, 1767610800000),
    since=1767607200000,
    journey=Journey({"7a523931": LATER}, "7a523931", [ENTRY], ["first"], 1767607200000),
)
ATTRIBUTES: dict[str, Any] = {
    "profiled": True,
    "consent": {"marketing": StoredConsent(True, 1767600000000)},
    "suppressed": True,
    "address_digest": "0011223344556677",
    "seen": seen({"e1": 1767607200000, "e2": 1767607260000}),
    "scores": {
        "s": ScoreState(1.5, 1767607200000, "e1"),
        "recent": ScoreState(1.0, 1767607200000, "e1", [(1.0, 1767607200000)]),
    },
    "levels": {"t#0": LevelState(True, 1767693600000)},
    "running": [RUNNING],
    "entries": {"cart": {'"x"': 1767607200000}},
    "unless_events": {"cart": [UnlessEvent(1767607100000, "e0", ["k"], ["x"])]},
    "reservations": [
        Reservation(COMMAND, 1767607200000, "send", "thanks", None, "marketing", "email", '["e2"]', "thanks")
    ],
    "sent": {"thanks": [COMMAND]},
    "goals": [OpenGoal("thanks", "ff00", '["e2"]', "thanks", COMMAND, 1767607200000, 1767780000000, ["x"])],
    "plan_version": "00ff00ff00ff",
    "plans": {"daily@0": ScheduleState(1767610800000, 20458, [20456, 20457]), "trial@1": ScheduleState(None, 0, [])},
    "windows": {
        "t#0": WindowState([1767607100000, 1767607200000], last_event="e1"),
        "spent/sum/distinct": WindowState(
            *([10, 20, 20], [1.5, 0.0, -2.0], ["'a", "5.0", "'a"]),
            *({3: Cell(2, 7.5, 5, 9)}, {"'b": 9}),
        ),
    },
    "segment_version": "aa11aa11aa11",
    "segments": {"big": Membership(True, 1767607300000), "near": Membership(False, 1767607300001)},
    "links": {"pair#0/1": [Link(5, "e1", [0], ["x"], None), Link(6, "e2", [0, 1], ["x"], ENTRY)]},
    "paused_until": 1770206400000,
}


def state_of(**changes: Any) -> UserState:
    """A state that has everything, with these attributes changed."""
    return state_with(User("u1", "Europe/Berlin", "de", {"vip": True}), **copy.deepcopy(ATTRIBUTES) | changes)


def read_again(state: UserState) -> dict[str, Any]:
    return contents(decode("u1", encode(state)[0]))


BYTES = bytes.fromhex(
    "9805cf0000019b8d9aefa0ac30306666303066663030666692c4101f7e24023b50eaef916658fbd43a97b4c40c019b8d99690001"
    "9b8d9a536082a17394cb3ff8000000000000cf0000019b8d996900a2653190a6726563656e7494cb3ff0000000000000cf000001"
    "9b8d996900a265319192cb3ff0000000000000cf0000019b8d99690081a374233093c3cf0000019b92bfc500c082a37423309692"
    "cf0000019b8d97e260cf0000019b8d99690090908080a26531b27370656e742f73756d2f64697374696e637496930a141493cb3f"
    "f8000000000000cb0000000000000000cbc00000000000000093a22761a3352e30a2276181039402cb401e000000000000050981"
    "a2276209a09f93ad4575726f70652f4265726c696ea2646581a3766970c381a96d61726b6574696e6792c3cf0000019b8d2b8c00"
    "c3b03030313132323333343435353636373700919fa463617274a466663030aa5b2278222c226531225da178a3227822a2653195"
    "a26531a463617274cf0000019b8d996900a377656282a16ba178a16ecb4004000000000000cf0000019b8d996900a16101cf0000"
    "019b8dd05780cf0000019b8dd05780c2cf0000019b8d9969009581a8376135323339333195a26533a56f72646572cf0000019b8d"
    "9aefa0a081a16ba178a837613532333933319195a26531a463617274cf0000019b8d996900a377656282a16ba178a16ecb400400"
    "000000000091a56669727374cf0000019b8d99690081a46361727481a3227822cf0000019b8d99690081a4636172749194cf0000"
    "019b8d97e260a2653091a16b91a17892919ad9203030303030303030303030303030303030303030303030303030303030303030"
    "cf0000019b8d996900a473656e64a67468616e6b73c0a96d61726b6574696e67a5656d61696ca65b226532225da67468616e6b73"
    "c081a67468616e6b7391009198a67468616e6b73a466663030a65b226532225da67468616e6b73d9203030303030303030303030"
    "303030303030303030303030303030303030303030cf0000019b8d996900cf0000019b97e6210091a178ac616131316161313161"
    "61313182a362696793c3cf0000019b8d9aefa0c0a46e65617293c2cf0000019b8d9aefa1c082a76461696c79403093cf0000019b"
    "8dd05780cd4fea92cd4fe8cd4fe9a7747269616c403193c0009081a87061697223302f31929505a26531910091a178c09506a265"
    "3292000191a17895a26531a463617274cf0000019b8d996900a377656282a16ba178a16ecb4004000000000000cf0000019c2886"
    "0e00"
)
BEFORE_JOURNEYS = bytes.fromhex(
    "9805cf0000019b8d9aefa0ac30306666303066663030666692c4101f7e24023b50eaef916658fbd43a97b4c40c019b8d99690001"
    "9b8d9a536082a17394cb3ff8000000000000cf0000019b8d996900a2653190a6726563656e7494cb3ff0000000000000cf000001"
    "9b8d996900a265319192cb3ff0000000000000cf0000019b8d99690081a374233093c3cf0000019b92bfc500c082a37423309692"
    "cf0000019b8d97e260cf0000019b8d99690090908080a26531b27370656e742f73756d2f64697374696e637496930a141493cb3f"
    "f8000000000000cb0000000000000000cbc00000000000000093a22761a3352e30a2276181039402cb401e000000000000050981"
    "a2276209a09f93ad4575726f70652f4265726c696ea2646581a3766970c381a96d61726b6574696e6792c3cf0000019b8d2b8c00"
    "c3b03030313132323333343435353636373700919ea463617274a466663030aa5b2278222c226531225da178a3227822a2653195"
    "a26531a463617274cf0000019b8d996900a377656282a16ba178a16ecb4004000000000000cf0000019b8d996900a16101cf0000"
    "019b8dd05780cf0000019b8dd05780c2cf0000019b8d99690081a46361727481a3227822cf0000019b8d99690081a46361727491"
    "94cf0000019b8d97e260a2653091a16b91a178929199d92030303030303030303030303030303030303030303030303030303030"
    "30303030cf0000019b8d996900a473656e64a67468616e6b73c0a96d61726b6574696e67a5656d61696ca65b226532225da67468"
    "616e6b7381a67468616e6b7391009198a67468616e6b73a466663030a65b226532225da67468616e6b73d9203030303030303030"
    "303030303030303030303030303030303030303030303030cf0000019b8d996900cf0000019b97e6210091a178ac616131316161"
    "31316161313182a362696792c3cf0000019b8d9aefa0a46e65617292c2cf0000019b8d9aefa182a76461696c79403093cf000001"
    "9b8dd05780cd4fea92cd4fe8cd4fe9a7747269616c403193c0009081a87061697223302f31929505a26531910091a178c09506a2"
    "653292000191a17895a26531a463617274cf0000019b8d996900a377656282a16ba178a16ecb4004000000000000"
    "cf0000019c28860e00"
)
"""The same state as it was written before occurrences remembered events, and segments what moved them."""
BEFORE_PAUSES = BEFORE_JOURNEYS[:-9].replace(bytes.fromhex("a09f93ad"), bytes.fromhex("a09e93ad"))
"""And as it was written before it knew of pauses."""


def test_the_bytes_of_this_format_are_read_and_written_to_the_byte() -> None:
    assert contents(decode("u1", BYTES)) == contents(state_of())
    assert encode(state_of())[0] == BYTES
    assert encode(decode("u1", BYTES))[0] == BYTES
    assert due_of(BYTES) == state_of().next_due()


def test_a_state_of_before_journeys_remembers_no_events() -> None:
    running = [structs.replace(RUNNING, journey=None)]
    assert contents(decode("u1", BEFORE_JOURNEYS)) == contents(state_of(running=running))


def test_a_state_of_before_pauses_is_not_paused() -> None:
    running = [structs.replace(RUNNING, journey=None)]
    assert contents(decode("u1", BEFORE_PAUSES)) == contents(state_of(running=running, paused_until=None))


def test_a_restarted_occurrence_is_read_as_it_was_written() -> None:
    restarted = structs.replace(
        RUNNING, stored_event=StoredEvent("e7", "cart", 1767607200000, "web", {}), held=True, wake=1767614400000
    )
    moved = structs.replace(
        restarted, entered_at=1767607260000, id="named otherwise", key=["x", 2.5], key_text='["x",2.5]'
    )
    state = state_of(running=[restarted, moved, structs.replace(moved, key=None, key_text=None)])
    assert read_again(state) == contents(state)


def test_a_command_without_a_reservation_is_stored_by_its_id() -> None:
    state = state_of(sent={"thanks": ["1" * 32, COMMAND], "gone": ["2" * 32]})
    assert read_again(state) == contents(state)


def test_a_new_state_is_read_as_it_was_written() -> None:
    assert read_again(new_state(User("u1"))) == contents(new_state(User("u1")))
    assert len(encode(new_state(User("u1")))[0]) <= 32


def test_state_without_timers_is_never_due() -> None:
    assert due_of(encode(new_state(User("u1")))[0]) is None


@pytest.mark.parametrize("raw", [b"\x04rest", b"\x98\x04rest", b"[]"])
def test_state_of_another_format_is_refused_with_what_to_do(raw: bytes) -> None:
    found = 4 if 4 in raw else 91
    message = f"format {found}, and this version of Ebbtide reads format 5: run the version that wrote it, or rebuild"
    for read in (lambda: decode("u1", raw), lambda: due_of(raw)):
        with pytest.raises(UnknownFormat, match=message):
            read()
    assert without_due(raw) == raw


def test_encoding_gives_the_next_due_time_that_the_bytes_carry() -> None:
    for state in (state_of(), new_state(User("u1"))):
        raw, due_ms = encode(state)
        assert due_ms == due_of(raw) == state.next_due()


@pytest.mark.parametrize("due_ms", [0, 5, 200, 70_000, 2**31, 2**33, 1767607200000, -1, -200, -(2**40)])
def test_the_next_due_time_is_read_and_removed_without_decoding(due_ms: int) -> None:
    state = state_with(User("u1"), levels={"t#0": LevelState(True, due_ms)})
    raw, _ = encode(state)
    assert due_of(raw) == due_ms
    assert due_of(without_due(raw)) is None
    assert contents(decode("u1", without_due(raw))) == contents(state)


def test_the_hot_part_is_changed_without_touching_the_rest() -> None:
    hot = decode_hot(BYTES)
    assert encode_hot(hot) == BYTES
    hot.scores["s"].value = 9.5
    changed = contents(decode("u1", encode_hot(hot)))
    assert changed["scores"]["s"] == ScoreState(9.5, 1767607200000, "e1")
    assert {**changed, "scores": 0} == {**contents(state_of()), "scores": 0}


CART = "trigger: t\npurpose: marketing\non: ping\nafter: 1h\nunless: {event: buy, same: k}\nsend: a\n"


@pytest.mark.parametrize(("key", "ended"), [("x", True), ("y", False)])
def test_what_ended_an_entry_before_it_came_is_read_from_the_bytes(key: str, ended: bool) -> None:
    world = World(CART)
    world.state.unless_events = {"t": [UnlessEvent(world.now + 2, "e0", ["k"], ["x"])]}
    world.state = decode("u1", encode(world.state)[0])
    counts = world.event(world.now + 1, "ping", k=key).counts
    assert counts == ({"ended_before_entry": 1} if ended else {})


def test_an_encoded_state_takes_no_more_memory_than_its_bytes() -> None:
    """The allocator's own figure: what the encoder returns would keep the rest of its buffer."""
    script = (
        "from triggers.rules.encoding import decode, encode, encode_hot, decode_hot\n"
        "state = decode('u1', None); state.user.attributes['a'] = 'x' * 900; state.profiled = True\n"
        "raw = encode(state)[0]; hot = decode_hot(raw)\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "before = resident(); kept = [encode(state)[0] for _ in range(20_000)]\n"
        "kept += [encode_hot(hot) for _ in range(20_000)]\n"
        "print((resident() - before) / len(kept) / len(raw))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.15

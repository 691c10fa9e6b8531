"""State as bytes: what older programs wrote stays readable, and what a newer one wrote is refused."""

from dataclasses import replace

import pytest
from drivers.trigger_world import World

from triggers.measures.decay import ScoreState
from triggers.measures.windows import Cell, WindowState
from triggers.rules.encoding import UnknownVersion, decode, due_of, encode
from triggers.rules.state import (
    Consent,
    Ending,
    Level,
    Link,
    Membership,
    Occurrence,
    OpenGoal,
    Plan,
    Reservation,
    StoredEvent,
    User,
    UserState,
)

COMMAND = "0" * 32
ENTRY = StoredEvent("e1", "cart", 1767607200000, "web", {"k": "x", "n": 2.5})
STATE = UserState(
    User("u1", "Europe/Berlin", "de", {"vip": True}),
    {"marketing": Consent(True, 1767600000000)},
    True,
    "0011223344556677",
    {"e1": 1767607200000, "e2": 1767607260000},
    {
        "s": ScoreState(1.5, 1767607200000, "e1"),
        "recent": ScoreState(1.0, 1767607200000, "e1", [(1.0, 1767607200000)]),
    },
    {"t#0": Level(True, 1767693600000)},
    [
        Occurrence(
            *("cart", "ff00", '["x","e1"]', "x", '"x"', "e1", ENTRY),
            *(1767607200000, "a", 1, 1767610800000, 1767610800000),
        )
    ],
    {"cart": {'"x"': 1767607200000}},
    {"cart": [Ending(1767607100000, "e0", 0, ["x"])]},
    [Reservation(COMMAND, 1767607200000, "send", "thanks", None, "marketing", "email", '["e2"]', "thanks")],
    {"thanks": [COMMAND]},
    [OpenGoal("thanks", "ff00", '["e2"]', "thanks", COMMAND, 1767607200000, 1767780000000, ["x"])],
    profiled=True,
)
NEWEST = replace(
    STATE,
    running=[replace(STATE.running[0], since=1767607200000)],
    planned_by="00ff00ff00ff",
    plans={"daily@0": Plan(1767610800000, 20458, [20456, 20457]), "trial@1": Plan(None, 0, [])},
    windows={
        "t#0": WindowState([1767607100000, 1767607200000], last_event="e1"),
        "spent/sum/distinct": WindowState(
            *([10, 20, 20], [1.5, 0.0, -2.0], ["'a", "5.0", "'a"]),
            *({3: Cell(2, 7.5, 5, 9)}, {"'b": 9}),
        ),
    },
    met_by="aa11aa11aa11",
    segments={"big": Membership(True, 1767607300000), "near": Membership(False, 1767607300001)},
    links={"pair#0/1": [Link(5, "e1", [0], ["x"], None), Link(6, "e2", [0, 1], ["x"], ENTRY)]},
)
VERSION_1 = (
    b'[1,["Europe/Berlin","de",{"vip":true}],{"marketing":[true,1767600000000]},true,"0011223344556677",{"'
    b'e1":1767607200000,"e2":1767607260000},{"s":[1.5,1767607200000,"e1",[]],"recent":[1.0,1767607200000,"'
    b'e1",[[1.0,1767607200000]]]},{"t#0":[true,1767693600000,null]},[["cart","ff00","[\\"x\\",\\"e1\\"]","x","'
    b'\\"x\\"","e1",["e1","cart",1767607200000,"web",{"k":"x","n":2.5}],1767607200000,"a",1,1767610800000,17'
    b'67610800000,false]],{"cart":{"\\"x\\"":1767607200000}},{"cart":[[1767607100000,"e0",0,["x"]]]},[["0000'
    b'0000000000000000000000000000",1767607200000,"send","thanks",null,"marketing","email","[\\"e2\\"]","tha'
    b'nks"]],{"thanks":["00000000000000000000000000000000"]},[["thanks","ff00","[\\"e2\\"]","thanks","000000'
    b'00000000000000000000000000",1767607200000,1767780000000,["x"]]]]'
)
VERSION_2 = (
    b'\x02\x00\x00\x01\x9b\x8d\xd0W\x80[["Europe/Berlin","de",{"vip":true}],{"marketing":[true,1767600000000]},1,"0011223344556677'
    b'",{"e1":1767607200000,"e2":1767607260000},{"s":[1.5,1767607200000,"e1"],"recent":[1.0,1767607200000,'
    b'"e1",[[1.0,1767607200000]]]},{"t#0":[true,1767693600000,null]},[["cart","ff00","[\\"x\\",\\"e1\\"]","x",'
    b'"\\"x\\"","e1",["e1","cart",1767607200000,"web",{"k":"x","n":2.5}],1767607200000,"a",1,1767610800000,1'
    b'767610800000,false]],{"cart":{"\\"x\\"":1767607200000}},{"cart":[[1767607100000,"e0",0,["x"]]]},[["000'
    b'00000000000000000000000000000",1767607200000,"send","thanks",null,"marketing","email","[\\"e2\\"]","th'
    b'anks"]],{"thanks":["00000000000000000000000000000000"]},[["thanks","ff00","[\\"e2\\"]","thanks","00000'
    b'000000000000000000000000000",1767607200000,1767780000000,["x"]]]]'
)

VERSION_3 = (
    b'\x03\x00\x00\x01\x9b\x8d\x9a\xef\xa0[["Europe/Berlin","de",{"vip":true}],{"marketing":[true,1767600000000'
    b']},1,"0011223344556677",{"e1":1767607200000,"e2":1767607260000},{"s":[1.5,1767607200000,"e1"],"recen'
    b't":[1.0,1767607200000,"e1",[[1.0,1767607200000]]]},{"t#0":[true,1767693600000,null]},[["cart","ff00"'
    b',"[\\"x\\",\\"e1\\"]","x","\\"x\\"","e1",["e1","cart",1767607200000,"web",{"k":"x","n":2.5}],176760720000'
    b'0,"a",1,1767610800000,1767610800000,false,1767607200000]],{"cart":{"\\"x\\"":1767607200000}},{"cart":['
    b'[1767607100000,"e0",0,["x"]]]},[["00000000000000000000000000000000",1767607200000,"send","thanks",nu'
    b'll,"marketing","email","[\\"e2\\"]","thanks"]],{"thanks":["00000000000000000000000000000000"]},[["than'
    b'ks","ff00","[\\"e2\\"]","thanks","00000000000000000000000000000000",1767607200000,1767780000000,["x"]]'
    b'],{"t#0":[[1767607100000,100000],"e1"],"spent/sum/distinct":[[10,10,0],"",[1.5,0.0,-2.0],["\'a","5.0"'
    b',"\'a"],[[3,2,7.5,5,9]],{"\'b":9}]},{"big":[1,1767607300000],"near":[0,1767607300001],"small":0},["00ff00ff00ff",{"daily@0":[17'
    b'67610800000,20458,20456,20457],"trial@1":[null,0]}],{"pair#0/1":[[5,"e1",[0],["x"]],[6,"e2",[0,1],["'
    b'x"],["e1","cart",1767607200000,"web",{"k":"x","n":2.5}]]]}]'
)
VERSION_4_BEFORE_ADDRESSES = bytes.fromhex(
    "040000019b8d9aefa0dc001393ad4575726f70652f4265726c696ea2646581a3766970c381a96d61726b6574696e6792c3cf0000019b"
    "8d2b8c00c3b03030313132323333343435353636373782a26531cf0000019b8d996900a26532cf0000019b8d9a536082a17394cb3ff8"
    "000000000000cf0000019b8d996900a2653190a6726563656e7494cb3ff0000000000000cf0000019b8d996900a265319192cb3ff000"
    "0000000000cf0000019b8d99690081a374233093c3cf0000019b92bfc500c0919ea463617274a466663030a17895a26531a463617274"
    "cf0000019b8d996900a377656282a16ba178a16ecb4004000000000000a16101cf0000019b8dd05780c0c0c0c0c0c2cf0000019b8d99"
    "690081a46361727481a3227822cf0000019b8d99690081a4636172749194cf0000019b8d97e260a265300091a1789199d92030303030"
    "30303030303030303030303030303030303030303030303030303030cf0000019b8d996900a473656e64a67468616e6b73c0a96d6172"
    "6b6574696e67a5656d61696ca65b226532225da67468616e6b7381a67468616e6b7391009198a67468616e6b73a466663030a65b2265"
    "32225da67468616e6b73d9203030303030303030303030303030303030303030303030303030303030303030cf0000019b8d996900cf"
    "0000019b97e6210091a17882a37423309692cf0000019b8d97e260cf0000019b8d99690090908080a26531b27370656e742f73756d2f"
    "64697374696e637496930a141493cb3ff8000000000000cb0000000000000000cbc00000000000000093a22761a3352e30a227618103"
    "9402cb401e000000000000050981a2276209a0ac61613131616131316161313182a362696792c3cf0000019b8d9aefa0a46e65617292"
    "c2cf0000019b8d9aefa1ac30306666303066663030666682a76461696c79403093cf0000019b8dd05780cd4fea92cd4fe8cd4fe9a774"
    "7269616c403193c0009081a87061697223302f31929505a26531910091a178c09506a2653292000191a17895a26531a463617274cf00"
    "00019b8d996900a377656282a16ba178a16ecb4004000000000000"
)
"""What was written before a state knew when its address changed: one section less."""
VERSION_4 = VERSION_4_BEFORE_ADDRESSES.replace(b"\xdc\x00\x13", b"\xdc\x00\x14", 1) + b"\x00"
COUNTS_OF_VERSION_2 = (
    b'\x02\x80\x00\x00\x00\x00\x00\x00\x00[0,0,0,0,0,{"s":[1.5,20,"e1"],"t#0":[2.0,20,"e2",[],[10,20]]},'
    b'{"t#0":[true,1000,null]}]'
)


@pytest.mark.parametrize("raw", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_the_bytes_of_older_versions_are_read_as_the_same_state(raw: bytes) -> None:
    assert decode("u1", raw) == STATE
    assert due_of(raw) == 1767610800000


def test_the_bytes_of_version_3_are_read_with_every_segment_that_was_asked() -> None:
    written = replace(NEWEST, met_by="", segments=NEWEST.segments | {"small": Membership(False)})
    assert decode("u1", VERSION_3) == written
    assert due_of(VERSION_3) == NEWEST.next_due()
    assert decode("u1", encode(written)) == written


def test_the_bytes_of_this_version_are_read_and_written_to_the_byte() -> None:
    assert decode("u1", VERSION_4) == NEWEST
    assert decode("u1", VERSION_4_BEFORE_ADDRESSES) == NEWEST
    assert encode(NEWEST) == VERSION_4
    assert due_of(VERSION_4) == NEWEST.next_due()


def test_what_does_not_follow_from_the_rest_of_an_occurrence_is_written_out() -> None:
    restarted = replace(
        STATE.running[0], event=StoredEvent("e7", "cart", 1767607200000, "web", {}), held=True, wake=1767614400000
    )
    moved = replace(restarted, entered_at=1767607260000, id="named otherwise", key=["x", 2.5], key_text='["x",2.5]')
    later = replace(STATE, running=[restarted, moved, replace(moved, key=None, key_text=None)])
    assert decode("u1", encode(later)) == later


def test_a_command_that_no_reservation_names_is_remembered_by_its_id() -> None:
    state = replace(STATE, sent={"thanks": ["1" * 32, COMMAND], "gone": ["2" * 32]})
    assert decode("u1", encode(state)) == state


def test_the_counts_that_version_2_kept_among_the_scores_are_windows() -> None:
    state = decode("u1", COUNTS_OF_VERSION_2)
    assert state.scores == {"s": ScoreState(1.5, 20, "e1")}
    assert state.windows == {"t#0": WindowState([10, 20], last_event="e2")}
    assert state.levels == {"t#0": Level(True, 1000)}


def test_what_is_written_is_the_newest_version() -> None:
    assert encode(decode("u1", VERSION_1)) == encode(decode("u1", VERSION_2)) == encode(STATE)
    assert encode(STATE)[0] == 4


def test_empty_sections_cost_a_byte_each() -> None:
    assert decode("u1", encode(UserState(User("u1")))) == UserState(User("u1"))
    assert len(encode(UserState(User("u1")))) == 9 + 3 + 20


def test_state_in_which_nothing_waits_is_due_never() -> None:
    assert due_of(encode(UserState(User("u1")))) is None


@pytest.mark.parametrize("raw", [b"\x05rest", b"{}", b"[2,0]", b"[]"])
def test_state_of_a_newer_program_is_refused(raw: bytes) -> None:
    with pytest.raises(UnknownVersion):
        decode("u1", raw)


CART = "trigger: t\npurpose: marketing\non: ping\nafter: 1h\nunless: {event: buy, same: k}\nsend: a\n"


@pytest.mark.parametrize(("key", "ended"), [("x", True), ("y", False)])
@pytest.mark.parametrize("names", [["k"], 0], ids=["names of fields", "a pattern's number, as earlier programs wrote"])
def test_what_ended_an_entry_before_it_came_is_read_from_the_bytes(
    names: list[str] | int, key: str, ended: bool
) -> None:
    world = World(CART)
    world.state.endings = {"t": [Ending(world.now + 2, "e0", names, ["x"])]}
    world.state = decode("u1", encode(world.state))
    counts = world.event(world.now + 1, "ping", k=key).counts
    assert counts == ({"ended_before_entry": 1} if ended else {})


def test_a_number_that_names_no_pattern_any_more_ends_nothing() -> None:
    world = World(CART)
    world.state.endings = {"t": [Ending(world.now + 2, "e0", 1, ["x"])]}
    assert world.event(world.now + 1, "ping", k="x").counts == {}

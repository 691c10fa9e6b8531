"""State as bytes: what older programs wrote stays readable, and what a newer one wrote is refused."""

from dataclasses import replace

import pytest

from triggers.decay import ScoreState
from triggers.encoding import UnknownVersion, decode, due_of, encode
from triggers.state import (
    Consent,
    Ending,
    Level,
    Membership,
    Occurrence,
    OpenGoal,
    Reservation,
    StoredEvent,
    User,
    UserState,
)
from triggers.windows import Cell, WindowState

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


COUNTED = replace(
    STATE,
    windows={
        "t#0": WindowState([1767607100000, 1767607200000], last_event="e1"),
        "spent/sum/distinct": WindowState(
            *([10, 20, 20], [1.5, 0.0, -2.0], ["'a", "5.0", "'a"]),
            *({3: Cell(2, 7.5, 5, 9)}, {"'b": 9}),
        ),
    },
    segments={"big": Membership(True, 1767607300000), "small": Membership(False)},
)
VERSION_3 = (
    b'\x03\x00\x00\x01\x9b\x8d\x9a\xef\xa0[["Europe/Berlin","de",{"vip":true}],{"marketing":[true,1767600000000]},1,"0011223344556677'
    b'",{"e1":1767607200000,"e2":1767607260000},{"s":[1.5,1767607200000,"e1"],"recent":[1.0,1767607200000,'
    b'"e1",[[1.0,1767607200000]]]},{"t#0":[true,1767693600000,null]},[["cart","ff00","[\\"x\\",\\"e1\\"]","x",'
    b'"\\"x\\"","e1",["e1","cart",1767607200000,"web",{"k":"x","n":2.5}],1767607200000,"a",1,1767610800000,1'
    b'767610800000,false]],{"cart":{"\\"x\\"":1767607200000}},{"cart":[[1767607100000,"e0",0,["x"]]]},[["000'
    b'00000000000000000000000000000",1767607200000,"send","thanks",null,"marketing","email","[\\"e2\\"]","th'
    b'anks"]],{"thanks":["00000000000000000000000000000000"]},[["thanks","ff00","[\\"e2\\"]","thanks","00000'
    b'000000000000000000000000000",1767607200000,1767780000000,["x"]]],{"t#0":[[1767607100000,100000],"e1"'
    b'],"spent/sum/distinct":[[10,10,0],"",[1.5,0.0,-2.0],["\'a","5.0","\'a"],[[3,2,7.5,5,9]],{"\'b":9}]},{"b'
    b'ig":[1,1767607300000],"small":0}]'
)
COUNTS_OF_VERSION_2 = (
    b'\x02\x80\x00\x00\x00\x00\x00\x00\x00[0,0,0,0,0,{"s":[1.5,20,"e1"],"t#0":[2.0,20,"e2",[],[10,20]]},'
    b'{"t#0":[true,1000,null]}]'
)


@pytest.mark.parametrize("raw", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_the_bytes_of_older_versions_are_read_as_the_same_state(raw: bytes) -> None:
    assert decode("u1", raw) == STATE
    assert due_of(raw) == 1767610800000


def test_the_bytes_of_this_version_are_read_and_written_to_the_byte() -> None:
    assert decode("u1", VERSION_3) == COUNTED
    assert encode(COUNTED) == VERSION_3
    assert due_of(VERSION_3) == 1767607300000


def test_the_counts_that_version_2_kept_among_the_scores_are_windows() -> None:
    state = decode("u1", COUNTS_OF_VERSION_2)
    assert state.scores == {"s": ScoreState(1.5, 20, "e1")}
    assert state.windows == {"t#0": WindowState([10, 20], last_event="e2")}
    assert state.levels == {"t#0": Level(True, 1000)}


def test_what_is_written_is_the_newest_version() -> None:
    assert encode(decode("u1", VERSION_1)) == encode(decode("u1", VERSION_2)) == encode(STATE)
    assert encode(STATE)[0] == 3


def test_empty_sections_cost_nothing() -> None:
    assert decode("u1", encode(UserState(User("u1")))) == UserState(User("u1"))
    assert len(encode(UserState(User("u1")))) == 11


def test_state_in_which_nothing_waits_is_due_never() -> None:
    assert due_of(encode(UserState(User("u1")))) is None


@pytest.mark.parametrize("raw", [b"\x04rest", b"{}", b"[2,0]", b"[]"])
def test_state_of_a_newer_program_is_refused(raw: bytes) -> None:
    with pytest.raises(UnknownVersion):
        decode("u1", raw)

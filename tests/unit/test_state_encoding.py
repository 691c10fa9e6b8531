"""State as bytes: what older programs wrote stays readable, and what a newer one wrote is refused."""

from dataclasses import replace

import pytest

from triggers.decay import ScoreState
from triggers.encoding import UnknownVersion, decode, due_of, encode
from triggers.state import (
    Consent,
    Ending,
    Level,
    Link,
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
    True,
)
NEWEST = replace(
    STATE,
    running=[replace(STATE.running[0], since=1767607200000)],
    planned_by="00ff00ff00ff",
    plans={"daily@0": Plan(1767610800000, 20458, [20456, 20457]), "trial@1": Plan(None, 0, [])},
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
    b'\x03\x00\x00\x01\x9b\x8d\xd0W\x80[["Europe/Berlin","de",{"vip":true}],{"marketing":[true,1767600000000]},1,"001122'
    b'3344556677",{"e1":1767607200000,"e2":1767607260000},{"s":[1.5,1767607200000,"e1"],"recent"'
    b':[1.0,1767607200000,"e1",[[1.0,1767607200000]]]},{"t#0":[true,1767693600000,null]},[["cart'
    b'","ff00","[\\"x\\",\\"e1\\"]","x","\\"x\\"","e1",["e1","cart",1767607200000,"web",{"k":"x","n":2'
    b'.5}],1767607200000,"a",1,1767610800000,1767610800000,false,1767607200000]],{"cart":{"\\"x\\"'
    b'":1767607200000}},{"cart":[[1767607100000,"e0",0,["x"]]]},[["00000000000000000000000000000'
    b'000",1767607200000,"send","thanks",null,"marketing","email","[\\"e2\\"]","thanks"]],{"thanks'
    b'":["00000000000000000000000000000000"]},[["thanks","ff00","[\\"e2\\"]","thanks","00000000000'
    b'000000000000000000000",1767607200000,1767780000000,["x"]]],["00ff00ff00ff",{"daily@0":[176'
    b'7610800000,20458,20456,20457],"trial@1":[null,0]}],{"pair#0/1":[[5,"e1",[0],["x"]],[6,"e2"'
    b',[0,1],["x"],["e1","cart",1767607200000,"web",{"k":"x","n":2.5}]]]}]'
)


@pytest.mark.parametrize("raw", [VERSION_1, VERSION_2], ids=["version 1", "version 2"])
def test_the_bytes_of_every_version_are_read_as_the_same_state(raw: bytes) -> None:
    assert decode("u1", raw) == STATE
    assert due_of(raw) == 1767610800000


def test_what_is_written_is_the_newest_version_to_the_byte() -> None:
    assert encode(NEWEST) == VERSION_3
    assert decode("u1", VERSION_3) == NEWEST
    assert encode(STATE) == encode(decode("u1", VERSION_1)) == b"\x03" + VERSION_2[1:]


def test_empty_sections_cost_nothing() -> None:
    assert decode("u1", encode(UserState(User("u1")))) == UserState(User("u1"))
    assert len(encode(UserState(User("u1")))) == 11
    counted = UserState(User("u1"), scores={"t#0": ScoreState(2.0, 20, "e2", instants=[10, 20])})
    assert decode("u1", encode(counted)) == counted


def test_state_in_which_nothing_waits_is_due_never() -> None:
    assert due_of(encode(UserState(User("u1")))) is None


@pytest.mark.parametrize("raw", [b"\x04rest", b"{}", b"[2,0]", b"[]"])
def test_state_of_a_newer_program_is_refused(raw: bytes) -> None:
    with pytest.raises(UnknownVersion):
        decode("u1", raw)

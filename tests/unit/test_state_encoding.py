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
    Membership,
    Occurrence,
    OpenGoal,
    Plan,
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
VERSION_4 = (
    b"\x04\x00\x00\x01\x9b\x8d\x9a\xef\xa0\xdc\x00\x11\x93\xadEurope/Berlin\xa2de\x81\xa3vip\xc3\x81\xa9marketing\x92"
    b"\xc3\xcf\x00\x00\x01\x9b\x8d+\x8c\x00\x01\xb00011223344556677\x92\x92\xa2e1\xa2e2\x92\xcf\x00\x00\x01\x9b\x8d\x99i\x00\xcd\xea"
    b"`\x82\xa1s\x93\xcb?\xf8\x00\x00\x00\x00\x00\x00\xcf\x00\x00\x01\x9b\x8d\x99i\x00\xa2e1\xa6recent\x94\xcb?\xf0\x00\x00\x00\x00\x00\x00\xcf\x00\x00\x01\x9b"
    b"\x8d\x99i\x00\xa2e1\x91\x92\xcb?\xf0\x00\x00\x00\x00\x00\x00\xcf\x00\x00\x01\x9b\x8d\x99i\x00\x81\xa3t#0\x93\xc3\xcf\x00\x00\x01\x9b\x92\xbf\xc5\x00\xc0\x91\x9e\xa4c"
    b"art\xa4ff00\xc0\xa1x\xc0\xc0\x95\xa2e1\xa4cart\xcf\x00\x00\x01\x9b\x8d\x99i\x00\xa3web\x82\xa1k\xa1x\xa1n\xcb@\x04\x00\x00\x00"
    b'\x00\x00\x00\xc0\xa1a\x01\xcf\x00\x00\x01\x9b\x8d\xd0W\x80\xc0\xc2\xcf\x00\x00\x01\x9b\x8d\x99i\x00\x81\xa4cart\x81\xa3"x"\xcf\x00\x00\x01\x9b\x8d\x99i\x00\x81'
    b"\xa4cart\x91\x94\xcf\x00\x00\x01\x9b\x8d\x97\xe2`\xa2e0\x00\x91\xa1x\x91\x99\xd9 000000000000000000000"
    b"00000000000\xcf\x00\x00\x01\x9b\x8d\x99i\x00\xa4send\xa6thanks\xc0\xa9marketing\xa5emai"
    b'l\xa6["e2"]\xa6thanks\x81\xa6thanks\x91\x00\x91\x98\xa6thanks\xa4ff00\xa6["e2"]\xa6t'
    b"hanks\xd9 00000000000000000000000000000000\xcf\x00\x00\x01\x9b\x8d\x99i\x00"
    b"\xcf\x00\x00\x01\x9b\x97\xe6!\x00\x91\xa1x\x82\xa3t#0\x92\x92\xcf\x00\x00\x01\x9b\x8d\x97\xe2`\xce\x00\x01\x86\xa0\xa2e1\xb2spent/sum/d"
    b"istinct\x96\x93\n\n\x00\xa0\x93\xcb?\xf8\x00\x00\x00\x00\x00\x00\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xcb\xc0\x00\x00\x00\x00\x00\x00\x00\x93\xa2'a\xa35."
    b"0\xa2'a\x91\x95\x03\x02\xcb@\x1e\x00\x00\x00\x00\x00\x00\x05\t\x81\xa2'b\t\x92\xacaa11aa11aa11\x82\xa3big\x92\xc3\xcf\x00\x00"
    b"\x01\x9b\x8d\x9a\xef\xa0\xa4near\x92\xc2\xcf\x00\x00\x01\x9b\x8d\x9a\xef\xa1\x92\xac00ff00ff00ff\x82\xa7daily@0\x94\xcf\x00"
    b"\x00\x01\x9b\x8d\xd0W\x80\xcdO\xea\xcdO\xe8\xcdO\xe9\xa7trial@1\x92\xc0\x00\x81\xa8pair#0/1\x92\x94\x05\xa2e1\x91\x00\x91\xa1x"
    b"\x95\x06\xa2e2\x92\x00\x01\x91\xa1x\x95\xa2e1\xa4cart\xcf\x00\x00\x01\x9b\x8d\x99i\x00\xa3web\x82\xa1k\xa1x\xa1n\xcb@\x04\x00\x00\x00\x00\x00"
    b"\x00"
)
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
    assert encode(NEWEST) == VERSION_4
    assert due_of(VERSION_4) == NEWEST.next_due()


def test_what_does_not_follow_from_the_rest_of_an_occurrence_is_written_out() -> None:
    restarted = replace(STATE.running[0], event=replace(ENTRY, id="e7"), held=True, wake=1767614400000)
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


def test_empty_sections_cost_nothing() -> None:
    assert decode("u1", encode(UserState(User("u1")))) == UserState(User("u1"))
    assert len(encode(UserState(User("u1")))) == 10


def test_state_in_which_nothing_waits_is_due_never() -> None:
    assert due_of(encode(UserState(User("u1")))) is None


@pytest.mark.parametrize("raw", [b"\x05rest", b"{}", b"[2,0]", b"[]"])
def test_state_of_a_newer_program_is_refused(raw: bytes) -> None:
    with pytest.raises(UnknownVersion):
        decode("u1", raw)

"""The lanes of several workers as one report, and as tables."""

from typing import Any

from cli.operations.lane_status import merged
from cli.operations.lane_tables import lines

UNTIL = "2026-11-29T10:00:00+00:00"


def binding(kind: str, **changes: Any) -> dict[str, Any]:
    return {"kind": kind, "name": "x", "observed": "", "limit": "", "until": None, "set_by": ""} | changes


def lane(waiting: int, bound: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "lane": "one mx.example",
        "source": "one",
        "site": "mx.example",
        "provider": "google",
        "waiting": waiting,
        "on_the_way": 1,
        "connections": 2,
        "connection_limit": 10,
        "mails_per_s": 1.25,
        "limits": {"mails one mx.example": {"rate": "10/s", "set_by": "default.max_message_rate"}},
        "failures": 0,
        "binding": bound,
    }


def action(until: str) -> dict[str, Any]:
    fields = {"kind": "suspend", "target": "lane one mx.example", "rule": "default.automation[0]", "since": UNTIL}
    return fields | {"until": until, "on_probation": False, "values": {}, "reply": "421 4.7.0 blocked"}


def source(waiting: int) -> dict[str, Any]:
    fields = {"source": "one", "state": "in_use", "until": None, "by": None, "waiting": waiting, "on_the_way": 1}
    return fields | {"connections": 2, "mails_per_s": 1.25, "lanes_suspended": 1, "lanes_unreachable": 0}


def report(waiting: int, bound: dict[str, Any] | None = None, until: str = UNTIL) -> dict[str, Any]:
    return {
        "lanes": [lane(waiting, bound)],
        "lanes_left_out": 3,
        "elsewhere": [{"waiting": 2, "binding": binding("lookup", name="slow.example")}],
        "actions": [action(until)],
        "sources": [source(waiting)],
        "problems": ["DANE is off"],
    }


def test_counts_add_up_and_what_binds_is_said_where_most_mails_wait() -> None:
    spent = binding("message_rate", observed="spent", limit="10/s", until=UNTIL, set_by="default.max_message_rate")
    found = merged([report(1, binding("behind")), report(5, spent, "2026-11-29T11:00:00+00:00")])

    [one] = found["lanes"]
    assert (one["waiting"], one["on_the_way"], one["connections"], one["mails_per_s"]) == (6, 2, 4, 2.5)
    assert one["binding"]["kind"] == "message_rate"
    assert [each["waiting"] for each in found["elsewhere"]] == [4]
    assert [each["until"] for each in found["actions"]] == ["2026-11-29T11:00:00+00:00"]
    assert [(each["waiting"], each["lanes_suspended"]) for each in found["sources"]] == [(6, 1)]
    assert found["problems"] == ["DANE is off"]


def test_the_tables_say_what_binds_observed_against_limit_and_until_when() -> None:
    spent = binding("message_rate", observed="spent", limit="10/s", until=UNTIL, set_by="default.max_message_rate")
    queue = {
        "age_s": 12.3,
        "due": {"1 s": 3, "older": 1},
        "waiting": {"limited": 1200, "rate_limited": 2},
        "started": 4,
        "in_doubt": 0,
        "limited": [{"waiting": 1200, "next_at": UNTIL, "detail": "message_rate x; spent of 10/s"}],
    }
    shown = "\n".join(lines(merged([report(5, spent)]), queue))

    assert "message_rate x; spent of 10/s; until 2026-11-29 10:00:00; by default.max_message_rate" in shown
    assert "waits for its time: limited 1,200, rate_limited 2; being sent: 4; in doubt: 0" in shown
    assert "3 lanes with less waiting are not shown" in shown
    assert "lookup slow.example" in shown
    assert (
        "suspend  lane one mx.example  until 2026-11-29 10:00:00  by default.automation[0]: 421 4.7.0 blocked" in shown
    )
    assert "problem  DANE is off" in shown


def test_no_worker_and_an_empty_queue_show_nothing_of_lanes() -> None:
    assert list(lines(merged([]), None)) == []

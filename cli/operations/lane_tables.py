"""The lanes, blocks and sources of delivery as tables for people."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cli.columns import aligned

MAX_REPLY = 120


def lines(lanes: Mapping[str, Any], queue: Mapping[str, Any] | None) -> Iterator[str]:
    """All of it, a block each, with an empty line before it."""
    blocks = [_queue(queue) if queue else [], _lanes(lanes), _sources(lanes), _actions(lanes)]
    blocks.append([f"problem  {each}" for each in lanes["problems"]])
    for block in filter(None, blocks):
        yield ""
        yield from block


def _queue(queue: Mapping[str, Any]) -> list[str]:
    due, waiting = queue["due"], queue["waiting"]
    ages = aligned([("due since", *(f"< {age}" if age != "older" else age for age in due)), ("", *_numbers(due))])
    rest = ", ".join(f"{reason} {count:,}" for reason, count in waiting.items()) or "nothing"
    more = f"waits for its time: {rest}; being sent: {queue['started']:,}; in doubt: {queue['in_doubt']:,}"
    if queue["age_s"] >= 1:
        more += f"; counted {queue['age_s']:.0f} s ago"
    rows = [("limited", "the next at", "")]
    for each in queue["limited"]:
        next_at = _clock(each["next_at"]) if each["next_at"] else "its turn"
        rows.append((f"{each['waiting']:,}", next_at, each["detail"]))
    return [*ages, more, *(["", *aligned(rows, right=(0,))] if queue["limited"] else [])]


def _numbers(counts: Mapping[str, int]) -> list[str]:
    return [f"{count:,}" for count in counts.values()]


def _lanes(found: Mapping[str, Any]) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("lane", "provider", "waiting", "on the way", "connections", "mails/s", "limit", "waits for")
    ]
    rows += [_lane(lane) for lane in found["lanes"]]
    rows += [
        ("-", "", f"{each['waiting']:,}", "", "", "", "", binding_words(each["binding"])) for each in found["elsewhere"]
    ]
    if len(rows) == 1:
        return []
    left_out = found["lanes_left_out"]
    more = [f"{left_out:,} lanes with less waiting are not shown"] if left_out else []
    return [*aligned(rows, right=(2, 3, 4, 5)), *more]


def _lane(lane: Mapping[str, Any]) -> tuple[str, ...]:
    own = lane["limits"].get(f"mails {lane['lane']}")
    return (
        lane["lane"],
        lane["provider"] or "-",
        f"{lane['waiting']:,}",
        f"{lane['on_the_way']:,}",
        f"{lane['connections']:,}/{lane['connection_limit'] or 1}",
        f"{lane['mails_per_s']:,.1f}",
        own["rate"] if own else "-",
        binding_words(lane["binding"]) if lane["binding"] else "",
    )


def binding_words(binding: Mapping[str, Any]) -> str:
    """What binds, observed against limit, until when, and by which key, rule or switch."""
    observed = binding["observed"][:MAX_REPLY]
    against = f"{observed} of {binding['limit']}" if observed and binding["limit"] else observed or binding["limit"]
    named = f"{binding['kind']} {binding['name']}".rstrip()
    until = f"until {_clock(binding['until'])}" if binding["until"] else ""
    return "; ".join(filter(None, [named, against, until, f"by {binding['set_by']}" if binding["set_by"] else ""]))


def _sources(found: Mapping[str, Any]) -> list[str]:
    rows = [
        ("source", "state", "waiting", "on the way", "connections", "mails/s", "lanes suspended", "unreachable", "")
    ]
    for each in found["sources"]:
        until = f"until {_clock(each['until'])} " if each["until"] else ""
        rows.append(
            (
                each["source"],
                each["state"].replace("_", " "),
                f"{each['waiting']:,}",
                f"{each['on_the_way']:,}",
                f"{each['connections']:,}",
                f"{each['mails_per_s']:,.1f}",
                f"{each['lanes_suspended']:,}",
                f"{each['lanes_unreachable']:,}",
                f"{until}by {each['by']}" if each["by"] else "",
            )
        )
    return aligned(rows, right=(2, 3, 4, 5, 6, 7)) if found["sources"] else []


def _actions(found: Mapping[str, Any]) -> list[str]:
    rows = []
    for each in found["actions"]:
        until = "on probation" if each["on_probation"] else f"until {_clock(each['until'])}"
        does = ", ".join(f"{key} = {value}" for key, value in each["values"].items()) or each["kind"]
        rows.append((does, each["target"], until, f"by {each['rule']}{_after(each)}"))
    return aligned(rows)


def _after(action: Mapping[str, Any]) -> str:
    reply = " ".join(str(action["reply"]).split())
    return f": {reply[:MAX_REPLY]}" if reply else ""


def _clock(at: str | None) -> str:
    """A time in UTC; one that does not come is the end by a person."""
    if at is None:
        return "it is lifted"
    return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M:%S}"

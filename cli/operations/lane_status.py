"""The lanes of all delivery workers of this machine together, made of what each worker says of its own. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PARTS = ("lanes", "lanes_left_out", "elsewhere", "actions", "sources", "problems")
"""What the page of a delivery worker says of lanes."""
_SUMS = ("waiting", "on_the_way", "connections", "mails_per_s")

Values = dict[str, Any]


def merged(reports: Sequence[Mapping[str, Any]]) -> Values:
    """One report. Counts add up; what binds a lane is what the worker says on which most of its mails wait."""
    return {
        "lanes": sorted(
            _summed(_all(reports, "lanes"), ("source", "site", "provider"), ("failures",)),
            key=lambda lane: (-lane["waiting"], lane["lane"]),
        ),
        "lanes_left_out": max((report["lanes_left_out"] for report in reports), default=0),
        "elsewhere": _elsewhere(_all(reports, "elsewhere")),
        "actions": _actions(_all(reports, "actions")),
        "sources": _summed(_all(reports, "sources"), ("source",), ("lanes_suspended", "lanes_unreachable")),
        "problems": list(dict.fromkeys(_all(reports, "problems"))),
    }


def _all(reports: Iterable[Mapping[str, Any]], part: str) -> list[Any]:
    return [each for report in reports for each in report[part]]


def _summed(values: Iterable[Values], names: Sequence[str], most: Sequence[str]) -> list[Values]:
    """One for each name: the sums of what adds up, the highest of `most`, the rest from where most mails wait."""
    found: dict[tuple[str, ...], Values] = {}
    for each in sorted(values, key=lambda each: -each["waiting"]):
        name = tuple(each[key] for key in names)
        known = found.get(name)
        if known is None:
            found[name] = dict(each)
        else:
            known |= {key: round(known[key] + each[key], 2) for key in _SUMS}
            known |= {key: max(known[key], each[key]) for key in most}
    return list(found.values())


def _elsewhere(values: Iterable[Values]) -> list[Values]:
    found: dict[tuple[str, str], Values] = {}
    for each in values:
        known = found.setdefault((each["binding"]["kind"], each["binding"]["name"]), each | {"waiting": 0})
        known["waiting"] += each["waiting"]
    return sorted(found.values(), key=lambda each: -each["waiting"])


def _actions(values: Iterable[Values]) -> list[Values]:
    """Each action once, as the worker has it that knows its latest end."""
    found: dict[tuple[str, str, str], Values] = {}
    for each in values:
        known = found.setdefault((each["kind"], each["target"], each["rule"]), each)
        if (each["until"] or "9") > (known["until"] or "9"):
            known.update(each)
    return sorted(found.values(), key=lambda each: each["since"] or "", reverse=True)

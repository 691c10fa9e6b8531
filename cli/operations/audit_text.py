"""A change of the audit as lines for people: the values that differ, before and after."""

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.wording import one_line

_IN_THE_FIRST_LINE = frozenset({"at", "by"})
_CHANGES = "changes"
"""What a manifest changed: a line for each rule and template."""


def lines(entry: Mapping[str, Any]) -> Iterator[str]:
    """When, the number, who, what and of what; then what was before and after, and what a manifest changed."""
    at = entry["at"][:19].replace("T", " ")
    yield one_line(f"{at}  {entry['number']:>5}  {entry['who']}  {entry['what']}  {entry['subject']}")
    before, after = _values(entry["before"]), _values(entry["after"])
    for name, side, other in (("before", before, after), ("after", after, before)):
        told = [_pair(key, value) for key, value in _shown(side).items() if value != other.get(key)]
        if told:
            yield one_line(f"    {name:<8}{'; '.join(told)}")
    for change in after.get(_CHANGES) or ():
        yield one_line(f"    {_change(change)}")


def _values(said: Any) -> Mapping[str, Any]:
    return said if isinstance(said, Mapping) else {"": said}


def _shown(side: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth a word. A switch says in words what its other values mean."""
    if "words" in side:
        return {"": side["words"], "why": side["why"]} if side.get("why") else {"": side["words"]}
    left_out = _IN_THE_FIRST_LINE | {_CHANGES}
    return {key: value for key, value in side.items() if key not in left_out and value not in (None, "", [], {})}


def _pair(key: str, value: Any) -> str:
    return f"{key.replace('_', ' ')} {_text(value)}".strip()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(_pair(str(key), each) for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "none" if value is None else str(value)


def _change(change: Mapping[str, Any]) -> str:
    detail = f": {change['detail']}" if change["detail"] else ""
    return f"{change['what']} {change['kind']} {change['name']} in the set {change['set']}{detail}"

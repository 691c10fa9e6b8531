"""The names that a template requires, found without rendering it."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from liquid.static_analysis import Variable

from senders.content.render import Part, template_faults, template_parts

_DEFAULTED = re.compile(r"[\w.\-\[\]'\"]*\s*\|\s*default\b")
_OPENING = re.compile(r"\{\{|\{%-?\s*(\w+)")
_TESTED = re.compile(r"[\w.\-\[\]'\"]*\s*(?:-?%\}|and\b|or\b|!=|==\s*(?:(?:blank|empty|nil|null)\b|\"\"|''))")
_TESTS = frozenset({"if", "elsif", "unless"})
GIVEN = frozenset({"user", "user.id", "unsubscribe_url", "preferences_url"})
"""Names that every rendering has, besides `data`."""


@dataclass(frozen=True, slots=True)
class RequiredName:
    """A name of `data`, or `user.NAME`, that must be there, and where the template's text first uses it."""

    name: str
    index: int


def required_names(name: str, body: str) -> list[RequiredName]:
    """The names that must be there to render the template, in order of place; raises TemplateError.

    Each attribute of `user` is a separate name, because a profile may not have it. A name may be missing if `if` or
    `unless` tests it, as in `{% if name %}`, or if every use has a `default`.
    """
    faults = template_faults(name, body)
    if faults:
        raise faults[0]
    uses: dict[str, list[_Use]] = {}
    for part in template_parts(body):
        for use in _uses(part):
            uses.setdefault(use.name, []).append(use)
    found = []
    for used_name, used in uses.items():
        plain = [use.place for use in used if not use.defaulted]
        if used_name not in GIVEN and plain and not any(use.tested for use in used):
            found.append(RequiredName(used_name, min(plain)))
    return sorted(found, key=lambda each: each.index)


class _Use(NamedTuple):
    """One use of a name: whether a tag tests it there, and whether it has a default there."""

    name: str
    place: int
    tested: bool
    defaulted: bool


def _uses(part: Part) -> Iterator[_Use]:
    found = part.analysis()
    openings = list(_OPENING.finditer(part.source))
    starts = [opening.start() for opening in openings]
    for variables in found.globals.values():
        for variable in variables:
            at = variable.span.index
            before = bisect_right(starts, at)
            in_test = before > 0 and openings[before - 1].group(1) in _TESTS
            tested = in_test and _TESTED.match(part.source, at) is not None
            yield _Use(_name(variable), part.offset + at, tested, _DEFAULTED.match(part.source, at) is not None)


def _name(variable: Variable) -> str:
    root, *path = variable.segments
    return f"user.{path[0]}" if root == "user" and path and isinstance(path[0], str) else str(root)

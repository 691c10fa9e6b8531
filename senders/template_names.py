"""The names that a template cannot do without, found without rendering it."""

import re
from dataclasses import dataclass

from liquid import BoundTemplate
from liquid.static_analysis import Variable

from senders.render import Part, template_parts

_DEFAULTED = re.compile(r"[\w.\-\[\]'\"]*\s*\|\s*default\b")
_OPENING = re.compile(r"\{\{|\{%-?\s*(\w+)")
_TESTED = re.compile(r"[\w.\-\[\]'\"]*\s*(?:-?%\}|and\b|or\b|!=|==\s*(?:blank|empty|nil|null)\b)")
_TESTS = frozenset({"if", "elsif", "unless"})
GIVEN = frozenset({"user"})
"""Names that every rendering has beside `data`."""


@dataclass(frozen=True, slots=True)
class Needed:
    """A name that must be in `data`, and where the template first uses it, as an index of its text."""

    name: str
    index: int


def needed_names(name: str, body: str) -> list[Needed]:
    """The names without which the template cannot be rendered, in order of place; raises TemplateError.

    A name that `if` or `unless` asks for, as in `{% if name %}`, or that is only used with a `default`, may be missing.
    """
    uses: dict[str, list[tuple[int, bool, bool]]] = {}
    for part in template_parts(name, body):
        for root, variables in _globals(part.template).items():
            uses.setdefault(root, []).extend(_use(part, variable) for variable in variables)
    found = []
    for root, used in uses.items():
        plain = [index for index, tested, defaulted in used if not defaulted]
        if root not in GIVEN and plain and not any(tested for _, tested, _ in used):
            found.append(Needed(root, min(plain)))
    return sorted(found, key=lambda each: each.index)


def _globals(template: BoundTemplate) -> dict[str, list[Variable]]:
    return template.analyze().globals


def _use(part: Part, variable: Variable) -> tuple[int, bool, bool]:
    """Where a variable stands, whether a tag tests it there, and whether it has a default there."""
    at = variable.span.index
    openings = list(_OPENING.finditer(part.source, 0, at + 1))
    in_test = bool(openings) and openings[-1].group(1) in _TESTS
    tested = in_test and _TESTED.match(part.source, at) is not None
    return part.offset + at, tested, _DEFAULTED.match(part.source, at) is not None

"""What an edited document or template says differently, value by value."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from cli.manifests.meaning import default_of, fitting, in_full, items_of, meaning
from triggers.language.declarations import Items, Named, Option, RecordShape, options
from triggers.language.keys import KINDS, SHAPES

_QUOTED = frozenset(",:{}[]#'\"&*!|>%@`")
"""Characters for which a text within a list or mapping is quoted."""
_CASES = "cases"


@dataclass(frozen=True, slots=True)
class KeyEdit:
    """One value before and after, as a rule would write it on one line; None where there is none."""

    path: str
    before: str | None
    after: str | None

    @property
    def key(self) -> str:
        """The document's key that it is in."""
        return self.path.partition(".")[0].partition("[")[0]


def document_edits(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[KeyEdit]:
    """The values that differ by what they mean, in the order of the declared keys.

    A key that is not written counts with its default. Cases are only counted: they change nothing that runs.
    """
    shape = KINDS[kind]
    edits = [*_record("", old, new, shape, leave_out=(_CASES,))]
    before, after = (items_of(each.get(_CASES, [])) for each in (old, new))
    if before != after:
        edited = " other" if len(before) == len(after) else ""
        edits.append(KeyEdit(_CASES, f"{len(before)}", f"{len(after)}{edited}"))
    return edits


def template_edits(old: str, new: str) -> list[KeyEdit]:
    """The lines of a template that differ; each is named by its number in the new text, or where it stood."""
    before, after = old.splitlines(), new.splitlines()
    edits = []
    for what, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what != "equal":
            for number in range(max(b - a, d - c)):
                gone = before[a + number] if a + number < b else None
                come = after[c + number] if c + number < d else None
                edits.append(KeyEdit(f"line {min(c + number, d) + 1}", gone, come))
    return edits


def written(value: Any, *, inside: bool = False) -> str:
    """The value on one line, as a rule would write it."""
    match value:
        case dict():
            return "{" + ", ".join(f"{name}: {written(each, inside=True)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(written(each, inside=True) for each in value) + "]"
        case bool():
            return "true" if value else "false"
        case str():
            text = " ".join(value.split())
            return "'" + text.replace("'", "''") + "'" if inside and _QUOTED & {*text} else text
    return str(value)


def _record(
    path: str, old: Mapping[str, Any], new: Mapping[str, Any], shape: RecordShape, leave_out: Sequence[str] = ()
) -> Iterator[KeyEdit]:
    declared = {key.name: key for key in shape.keys}
    for name in {**declared, **old, **new}:
        if name in leave_out:
            continue
        key = declared.get(name)
        default, takes = (default_of(key), options(key.takes)) if key else (None, ())
        yield from _value(f"{path}.{name}".lstrip("."), old.get(name, default), new.get(name, default), takes)


def _value(path: str, old: Any, new: Any, takes: Sequence[Option]) -> Iterator[KeyEdit]:
    if old is None or new is None:
        if old is not new:
            yield _edit(path, old, new)
        return
    if meaning(old, takes) == meaning(new, takes):
        return
    before, after = in_full(old, takes), in_full(new, takes)
    one, other = fitting(before, takes), fitting(after, takes)
    if isinstance(one, Items) and one == other and one.kind == "map":
        for name in {**before, **after}:
            yield from _value(f"{path}.{name}", before.get(name), after.get(name), one.item)
    elif isinstance(one, Items) and one == other:
        yield from _list(path, items_of(old), items_of(new), one.item)
    elif isinstance(one, Named) and one == other and isinstance(shape := SHAPES[one.name], RecordShape):
        yield from _record(path, before, after, shape)
    else:
        yield _edit(path, old, new)


def _list(path: str, old: Sequence[Any], new: Sequence[Any], takes: Sequence[Option]) -> Iterator[KeyEdit]:
    """The items that differ; items of equal meaning stay beside each other. Numbers begin with 1."""
    one = len(old) == len(new) == 1
    before, after = ([repr(meaning(item, takes)) for item in items] for items in (old, new))
    for what, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        for number in range(max(b - a, d - c)) if what != "equal" else ():
            gone = old[a + number] if a + number < b else None
            come = new[c + number] if c + number < d else None
            at = min(c + number, d) if come is not None else a + number
            yield from _value(path if one else f"{path}[{at + 1}]", gone, come, takes)


def _edit(path: str, old: Any, new: Any) -> KeyEdit:
    return KeyEdit(path, None if old is None else written(old), None if new is None else written(new))

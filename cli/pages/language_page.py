"""docs/triggers.md: the prose of docs/source/triggers.md, with the reference and the diagnostics written into it."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from schemas.numbers import bounds_text
from triggers.language import keys
from triggers.language.declarations import (
    Bounds,
    ChoiceShape,
    Items,
    Key,
    Named,
    Option,
    RecordShape,
    ScalarShape,
    Word,
    options,
)
from triggers.language.diagnostics import CODES, NOTES, WARNINGS

SOURCE = Path("docs/source/triggers.md")
PAGE = Path("docs/triggers.md")
_FLAG = re.compile(r"<!-- not yet: [\w-]+ -->\n")
_FENCES = {"```events\n": "```yaml\n", "```cel\n": "```\n"}
_HEAD = "<!-- `ebbtide docs` writes this from docs/source/triggers.md and the declared keys. Edit those. -->\n\n"


class StalePage(ValueError):
    """The page is stale."""


def page(source: str) -> str:
    """The whole page."""
    text = _FLAG.sub("", source)
    for mark, fence in _FENCES.items():
        text = text.replace(mark, fence)
    text = text.replace("<!-- reference -->\n", "\n".join(_reference()) + "\n")
    return _HEAD + text.replace("<!-- diagnostics -->\n", "\n".join(_diagnostics()) + "\n")


def write_page(root: Path) -> Path:
    """Writes the page below `root` and returns its file."""
    (root / PAGE).write_text(page((root / SOURCE).read_text(encoding="utf-8")), encoding="utf-8")
    return root / PAGE


def check_page(root: Path) -> None:
    """Raises StalePage if the page differs from its source and the declared keys."""
    wanted = page((root / SOURCE).read_text(encoding="utf-8"))
    if not (root / PAGE).exists() or (root / PAGE).read_text(encoding="utf-8") != wanted:
        raise StalePage(f"{PAGE} is not what {SOURCE} and the keys say; `ebbtide docs` writes it")


def _reference() -> Iterator[str]:
    for name, shape in keys.KINDS.items():
        yield from ("", f"### {name}", "", f"{shape.sentence}{_one_of(shape)}", "", *_table(shape))
    yield from ("", "### Shapes", "")
    for name, each in keys.SHAPES.items():
        if not isinstance(each, ScalarShape):
            yield from _section(name, each)
    yield from ("### Values", "", "| shape | as in | what it is |", "| --- | --- | --- |")
    for name, each in keys.SHAPES.items():
        if isinstance(each, ScalarShape):
            yield f'| <a id="{_anchor(name)}"></a>{name} | `{each.form}` | {each.sentence} |'


def _section(name: str, shape: RecordShape | ChoiceShape) -> Iterator[str]:
    yield from (f"#### {_title(name)}", "")
    if isinstance(shape, ChoiceShape):
        yield from (f"{shape.sentence} {_takes(options(shape.takes))}.", "")
        return
    later = " **Comes in a later version.**" if shape.later else ""
    yield from (f"{shape.sentence}{_one_of(shape)}{later}", "", *_table(shape), "")


def _one_of(shape: RecordShape) -> str:
    groups = [" or ".join(f"`{name}`" for name in group) for group in shape.exactly_one]
    return "".join(f" Exactly one of {group} is required." for group in groups)


def _table(shape: RecordShape) -> Iterator[str]:
    yield "| key | takes | default | what it means |"
    yield "| --- | --- | --- | --- |"
    for key in shape.keys:
        takes = _takes(options(key.takes)) + (_size(*key.size) if key.size else "")
        yield f"| `{key.name}` | {takes} | {_default(key)} | {_meaning(key)} |"


def _default(key: Key) -> str:
    if key.required:
        return "required"
    return f"`{key.default}`" if key.default else key.absent


def _meaning(key: Key) -> str:
    return f"{key.sentence} Comes in a later version." if key.later else key.sentence


def _size(fewest: int, most: int) -> str:
    return f", {fewest} to {most}" if fewest > 1 else f", at most {most}"


def _takes(found: Iterable[Option]) -> str:
    return " or ".join(map(_option, found))


def _option(option: Option) -> str:
    match option:
        case Word(text, later):
            return f"`{text}` (in a later version)" if later else f"`{text}`"
        case Named(name):
            return f"[{_title(name)}](#{_anchor(name)})"
        case Bounds(low, high, whole):
            bounds = bounds_text(low, high)
            return bounds if whole else f"a number {bounds}"
        case Items(_, item, True):
            return f"{_takes(item)} or a list"
        case Items("list", item):
            return f"a list of {_takes(item)}"
        case Items(_, item):
            return f"names with {_takes(item)}"


def _title(name: str) -> str:
    return name.replace("_", " ")


def _anchor(name: str) -> str:
    return name.lower().replace("_", "-")


def _diagnostics() -> Iterator[str]:
    yield from ("| code | kind | what it means |", "| --- | --- | --- |")
    for code, meaning in CODES.items():
        kind = "warning" if code in WARNINGS else "note" if code in NOTES else "error"
        yield f"| `{code}` | {kind} | {meaning} |"

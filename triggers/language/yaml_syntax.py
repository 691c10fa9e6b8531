"""Text that is not YAML: which characters a rule file must not hold, and what to write instead of a syntax error.

libyaml says what is wrong only in words, so these choose the hint. A test holds each hint.
"""

import re

import yaml

from triggers.cel.characters import look_alike, named, plainly, retype
from triggers.language.diagnostics import Report

_NOT_ALLOWED = re.compile(r"[\t\ufeff\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_NO_COLON = "could not find expected ':'"
_BRACKETS = {"did not find expected ',' or ']'": "[", "did not find expected ',' or '}'": "{"}
_QUOTE = "wrap an expression in single quotes, or write it as a block after `>-`"
_NO_QUOTE = "found unexpected end of stream"
_SYNTAX_HINTS = {
    _NO_QUOTE: "the quote that begins here is not closed",
    _NO_COLON: "a colon and a blank follow a key, as in send: welcome",
    "mapping values are not allowed in this context": (
        "is the line indented as the one before it? A text that holds a colon and a blank goes in quotes"
    ),
    "did not find expected '-' indicator": "begin it with `- ` like the items above, or indent it like what it is of",
}
_SAVE_AS_UTF_8 = "save the file as UTF-8"


def refuse_characters(report: Report) -> bool:
    """Reports the first character that a rule file must not hold; whether there is one."""
    text = report.source.text
    found = _NOT_ALLOWED.search(text)
    if found is None:
        return False
    name = "a tab" if found[0] == "\t" else named(found[0])
    report.add(found.start(), "yaml-text", f"{name} is not allowed in a rule file", _text_hint(text, found.start()))
    return True


def _text_hint(text: str, index: int) -> str:
    """How to get rid of a character that a rule file must not hold."""
    char = text[index]
    if char == "\t":
        return 'use spaces; in "…" write \\t'
    if char == "\ufeff":
        return f"{_SAVE_AS_UTF_8} without a byte order mark (BOM)" if index == 0 else "delete it: it shows nothing"
    if char == "\0":
        half = text.count("\0") * 3 > len(text)
        return f"{_SAVE_AS_UTF_8}: it is UTF-16" if half else "delete it; a rule file is text"
    if char in "\u2028\u2029\x85":
        return "write an ordinary line break"
    if "\x80" <= char <= "\x9f":
        return f"delete it, or {_SAVE_AS_UTF_8}: it may be of another encoding"
    return "delete it; a rule file is text"


def report_syntax(report: Report, error: yaml.MarkedYAMLError) -> None:
    """Reports a syntax error at the place to fix."""
    if (place := _look_alike_that_breaks(report.source.text, error)) is not None:
        char = report.source.text[place]
        report.add(place, "yaml-text", f"{named(char)} does not mean here what it looks like", retype(char))
        return
    mark = error.problem_mark or error.context_mark
    if error.problem in (_NO_COLON, _NO_QUOTE) and error.context_mark:  # it shows on a line after
        mark = error.context_mark
    unclosed = _unclosed(error)
    if unclosed:
        mark = error.context_mark
    index = mark.index if mark else 0
    line = report.source.text[: index + 1].count("\n")
    text = report.source.text.split("\n")[line] if report.source.text else ""
    message = " ".join(filter(None, [error.problem or "not YAML", error.context]))
    report.add(index, "yaml-syntax", message, unclosed or _syntax_hint(error.problem, text))


def _look_alike_that_breaks(text: str, error: yaml.MarkedYAMLError) -> int | None:
    """Where a look-alike stands without which the file could be read further; None where that is not the cause."""
    marks = [mark for mark in (error.context_mark, error.problem_mark) if mark is not None]
    lines = text.split("\n")
    for row in sorted({mark.line for mark in marks if mark.line < len(lines)}):
        column = look_alike(lines[row])
        if column is None:
            continue
        mended = "\n".join([*lines[:row], plainly(lines[row]), *lines[row + 1 :]])
        if _reads_to(mended) > max(mark.line for mark in marks):
            return sum(len(line) + 1 for line in lines[:row]) + column
    return None


def _reads_to(text: str) -> int:
    """The line up to which a text is YAML."""
    try:
        for _ in yaml.parse(text, Loader=yaml.CSafeLoader):
            pass
    except yaml.MarkedYAMLError as error:
        return error.problem_mark.line if error.problem_mark else 0
    except yaml.YAMLError:
        return 0
    return len(text)


def _unclosed(error: yaml.MarkedYAMLError) -> str:
    """What to say where a bracket is still open on a later line; nothing of other mistakes."""
    bracket = _BRACKETS.get(error.problem or "", "")
    if not bracket or not error.context_mark or not error.problem_mark:
        return ""
    later = error.problem_mark.line > error.context_mark.line
    return f"the `{bracket}` that begins here is not closed" if later else ""


def _syntax_hint(problem: str | None, line: str) -> str:
    if re.fullmatch(r"\s*-[- ]*-\s*", line):
        return "exactly three dashes at the margin, ---, part two documents"
    if problem == "did not find expected key" and line.lstrip().startswith("- "):
        return "begin the lines above with `- ` too, or indent this one like what it is of"
    if re.search(r"\{%|\{\{", line):
        return "an expression is CEL, without the braces of templates"
    if problem in _BRACKETS:
        return f"a comma parts what stands in {{ }} and [ ]; {_QUOTE}"
    if problem in _SYNTAX_HINTS:
        return _SYNTAX_HINTS[problem]
    if re.search(r"[\"'?!{}\[\]&|=:]", line):
        return _QUOTE
    return ""

"""Comments that allow a warning or a note: `# ebbtide: allow order-sensitive`.

A comment and not a key, because it changes nothing that the rule does. It applies to its document.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from schemas.wording import closest, quoted
from triggers.language.diagnostics import NOTES, REFUSED_IN_PUBLICATION, WARNINGS, Diagnostic, Report

_COMMENT = re.compile(r"(?:^|(?<=[ \t]))#[ \t]*ebbtide:[ \t]*allow\b[ \t:]*([^\n]*)", re.MULTILINE)
_CODE = re.compile(r"[^\s,]+")
_ALLOWED = frozenset((WARNINGS | NOTES) - REFUSED_IN_PUBLICATION - {"allow"})


class AllowComments:
    """The codes that the comments of one file allow, by document. Other codes are reported as warnings."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._codes: set[tuple[int, str]] = set()
        for comment in _COMMENT.finditer(report.source.text):
            document = report.document(report.at(comment.start(), "", "").line)
            self._codes |= {(document, code) for code in _codes(report, comment)}

    def __contains__(self, found: Diagnostic) -> bool:
        return bool(self._codes) and (self._report.document(found.line), found.code) in self._codes


def _codes(report: Report, comment: re.Match[str]) -> Iterator[str]:
    codes = list(_CODE.finditer(comment.string, comment.start(1), comment.end(1)))
    if not codes:
        report.add(comment.start(), "allow", "missing code after `allow`", "as in # ebbtide: allow order-sensitive")
    for code in codes:
        if code[0] in _ALLOWED:
            yield code[0]
        else:
            message = f"{quoted(code[0])} cannot be allowed: it is not a warning or a note"
            close = closest(code[0], _ALLOWED)
            hint = f"did you mean `{close}`?" if close else "docs/triggers.md lists the codes of warnings and notes"
            report.add(code.start(), "allow", message, hint)


def without_allowed(found: Iterable[Diagnostic], allowed: Mapping[str, AllowComments]) -> list[Diagnostic]:
    """The findings that their files, by path, do not allow."""
    return [each for each in found if each.path not in allowed or each not in allowed[each.path]]

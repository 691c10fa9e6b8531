"""Diagnostics: what is wrong with a rule file, where, and what to type instead. All codes are listed here."""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, TypeVar

from schemas.errors import UserError
from schemas.wording import one_line

T = TypeVar("T")
D = TypeVar("D")

CODES: dict[str, str] = {
    "yaml-syntax": "the file is not YAML",
    "yaml-ambiguous": "YAML 1.1 and YAML 1.2 read this differently",
    "yaml-number": "a number or a constant that is not written plainly",
    "yaml-tag": "a tag",
    "yaml-anchor": "an anchor or an alias",
    "yaml-duplicate-key": "a key written twice",
    "yaml-document": "a document that begins without a line `---`",
    "yaml-empty": "a key without a value",
    "yaml-key": "a key that is not text",
    "yaml-text": "characters that a rule file must not hold",
    "yaml-limit": "a file too large or too deeply nested",
    "kind": "a document that is of no kind",
    "unknown-key": "a key that the language does not have",
    "missing-key": "a key that must be written",
    "conflict": "keys that exclude each other",
    "not-yet": "part of the language that this version does not run",
    "wrong-type": "a value of another shape than the key takes",
    "invalid-name": "a name that cannot be one",
    "invalid-duration": "not a duration",
    "invalid-window": "not a window",
    "invalid-percent": "not a percentage",
    "invalid-period": "not a period",
    "invalid-schedule": "not a schedule",
    "invalid-zone": "not a time zone",
    "invalid-mailbox": "not one mailbox",
    "invalid-value": "a value outside its range",
    "invalid-time": "not a time of a case",
    "unknown-score": "a score that no document defines",
    "unknown-metric": "a metric that no document defines",
    "unknown-segment": "a segment that no document defines",
    "metric-field": "a field that a metric does not keep",
    "segment-score": "a score in a segment that is not compared with a number",
    "unknown-template": "a template that does not exist",
    "unknown-policy": "a policy that no document defines",
    "unknown-trigger": "a rule that no document defines",
    "unknown-brand": "a brand that no document defines",
    "unknown-endpoint": "an endpoint that no document defines",
    "plain-http": "an endpoint whose requests anybody on their way can read",
    "duplicate-document": "two documents of one kind and name",
    "duplicate-step": "two sends of one rule under one id",
    "no-properties": "a property of an event that a crossing does not have",
    "occurrence-field": "a field of `occurrence` that the rule never fills",
    "cel-syntax": "an expression that cannot be read",
    "cel-name": "a name that an expression cannot use here",
    "cel-type": "an operation that does not fit its operands",
    "cel-limit": "an expression too long or too deeply nested",
    "negated-optional": "a field negated without `has()`",
    "whole-quotient": "a division of two whole numbers, whose result is cut",
    "never-fires": "a rule, or what begins it, that can never send",
    "cap-unreachable": "a cap that can never be reached",
    "unheard-event": "an event in a case that no rule listens to, with a name close to one that a rule does",
    "nested-properties": "an event in a case whose properties stand under an extra key",
    "score-as-attribute": "an attribute in a case with the name of a score, which no expression reads",
    "empty-file": "a rule file without a document",
    "unused-policy": "a policy that no trigger obeys",
    "unused-definition": "a score, metric, segment, brand or endpoint that nothing uses",
    "unaligned-domain": "a brand whose mails another domain signs than the sender's, or one above or below it",
    "event-never-given": "an event that a document listens to, and that no case gives",
    "misspelt-purpose": "a purpose that only one trigger has, with a name close to another's",
    "lone-purpose": "a purpose that no other trigger has",
    "costly-expression": "an expression that may take more than half of the allowed steps",
    "order-sensitive": "a result that the order of arrival can change",
    "memory-bound": "a rule for which a busy user exceeds a bound on memory",
    "allow": "a comment `# ebbtide: allow CODE` that names no warning and no note",
    "unknown-event": "an event that the catalogue does not have",
    "unknown-property": "a property that the catalogue's event does not have",
    "property-type": "a property compared or given as another type than the catalogue says",
    "never-heard": "an event without a user, where only events of users are heard",
    "broadcast": "an event without a user that a rule waits for",
    "duplicate-event": "an event that two catalogues describe differently",
    "not-read": "a file that looks like a rule or a template, and is not read",
    "duplicate-template": "two templates of one name, in any folders",
    "unused-template": "a template that no rule sends",
    "template-invalid": "a template that cannot be used",
    "template-variable": "a variable that a template uses and `data` does not give",
    "missing-signing-key": "a brand's DKIM key that the settings of delivery on this machine do not name",
    "missing-secret": "a secret of an endpoint that the settings of delivery on this machine do not have",
    "template-attribute": "a user's attribute that a template shows without testing whether it exists",
}
WARNINGS = frozenset(
    {
        *("negated-optional", "whole-quotient", "never-fires", "cap-unreachable", "unheard-event", "nested-properties"),
        *("score-as-attribute", "template-attribute", "allow", "plain-http"),
        *("unused-policy", "unused-definition", "event-never-given", "misspelt-purpose", "empty-file"),
        *("not-read", "unused-template", "unknown-template", "unaligned-domain", "missing-signing-key"),
        *("never-heard", "missing-secret"),
    }
)
"""Codes of findings with which rules load all the same."""
REFUSED_IN_PUBLICATION = frozenset({"unknown-template"})
"""Codes of warnings with which rules can be tried out and not be published."""
NOTES = frozenset({"order-sensitive", "costly-expression", "lone-purpose", "memory-bound", "broadcast"})
"""Codes that say how a rule behaves; nothing is wrong."""
BESIDE_RULES = frozenset(
    {
        "unknown-event",
        "unknown-property",
        "property-type",
        "never-heard",
        "duplicate-event",
        "not-read",
        "duplicate-template",
        "unused-template",
        "template-invalid",
        "template-variable",
        "template-attribute",
        "missing-signing-key",
        "missing-secret",
    }
)
"""Codes that only `check` reports, from an event catalogue, templates, keys and secrets; loading ignores them."""

_EXCERPT_WIDTH = 120


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One rule file as text. `path` is only shown."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One problem at one place; lines and columns count from 1."""

    path: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    excerpt: str = field(default="", compare=False)
    rule: str = field(default="", compare=False)
    """The rule that a note is about, where several such notes are shown as one."""
    other_path: str = field(default="", compare=False)
    """The file of the other document or template, where two have one name."""
    refused: bool = field(default=False, compare=False)
    """Whether it is an error though its code is a warning's: see `in_publication`."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.severity}: {self.message} [{self.code}]"

    @property
    def is_warning(self) -> bool:
        """Whether the file loads all the same."""
        return self.code in WARNINGS and not self.refused

    @property
    def severity(self) -> Literal["error", "warning", "note"]:
        """Only an error keeps the rules from loading."""
        return "note" if self.code in NOTES else "warning" if self.is_warning else "error"

    def render(self) -> str:
        """The problem, the line with a caret under the place, and the hint."""
        parts = [str(self)]
        if self.excerpt:
            parts.append(self.excerpt)
        if self.hint:
            parts.append(f"  hint: {self.hint}")
        return "\n".join(parts)


def in_publication(found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The findings in rules that are to be published, where some warnings are errors."""
    return [replace(each, refused=each.code in REFUSED_IN_PUBLICATION) for each in found]


class InvalidRules(UserError):
    """Rule files with problems: every one of them, ordered by place."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = sorted(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))

    @property
    def line(self) -> str:
        """The first problem with its hint; a warning may stand before it."""
        first = next(each for each in self.diagnostics if not each.is_warning)
        shown = f"{first} ({first.hint})" if first.hint else str(first)
        return f"the rules do not load: {shown}; `ebbtide check` shows every problem"


class Report:
    """Collects the problems of one file, so that all are reported together."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []
        self._not_yaml: set[int] = set()
        self._starts = [0]
        for index, char in enumerate(source.text):
            if char == "\n":
                self._starts.append(index + 1)

    def add(self, index: int, code: str, message: str, hint: str = "", *, other_path: str = "") -> None:
        """Adds a problem at a character index of the file.

        If the YAML at that place is already wrong, problems that follow from it are left out.
        """
        index = min(max(index, 0), len(self.source.text))
        if code.startswith("yaml-"):
            self._not_yaml.add(index)
        elif index in self._not_yaml:
            return
        self.diagnostics.append(self.at(index, code, message, hint, other_path))

    def attempt(self, read: Callable[[], T], default: D) -> T | D:
        """The value that `read` returns, or the default if it raises a Problem, which is reported."""
        try:
            return read()
        except Problem as problem:
            self.add(problem.index, problem.code, problem.message, problem.hint)
            return default

    def at(self, index: int, code: str, message: str, hint: str = "", other_path: str = "") -> Diagnostic:
        """A diagnostic at a character of the file, which is not added."""
        row = bisect_right(self._starts, index) - 1
        column = index - self._starts[row]
        excerpt = self._excerpt(row, column)
        place = self.source.path, row + 1, column + 1
        return Diagnostic(*place, code, one_line(message), hint, excerpt, other_path=other_path)

    def silence(self, index: int, length: int = 1) -> None:
        """Leaves out further problems at these characters, whose problem is reported already."""
        self._not_yaml.update(range(index, index + length))

    def withdraw(self, index: int, code: str) -> None:
        """Takes back a problem that turned out to follow from another one."""
        gone = self.at(index, code, "")
        self.diagnostics = [
            each for each in self.diagnostics if (each.line, each.column, each.code) != (gone.line, gone.column, code)
        ]

    def document(self, line: int) -> int:
        """The number of the document that a line is in; lines `---` separate documents."""
        return bisect_right(self._borders, line)

    @cached_property
    def _borders(self) -> list[int]:
        lines = self.source.text.split("\n")
        return [number for number, line in enumerate(lines, 1) if line == "---" or line.startswith(("--- ", "---\t"))]

    def _excerpt(self, row: int, column: int) -> str:
        end = self._starts[row + 1] - 1 if row + 1 < len(self._starts) else len(self.source.text)
        line = self.source.text[self._starts[row] : end]
        first = max(0, column - _EXCERPT_WIDTH // 2)
        shown = "".join(c if c.isprintable() else " " for c in line[first : first + _EXCERPT_WIDTH])
        return f"  {shown.rstrip()}\n  {' ' * (column - first)}^"


class Problem(Exception):
    """One problem, raised where it is found and reported where reading can continue."""

    def __init__(self, index: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.index = index
        self.code = code
        self.message = message
        self.hint = hint

"""Decides from only the event whether it can change a user's state.

Most events of a type that many rules read match no rule. So the part of each `where` that reads only the event is
evaluated first, without the user's state. A `where` that compares a property with texts, as in `event.plan == "pro"`,
is found by the event's own text instead of being evaluated (the equality predicates of Fabret et al., Filtering
Algorithms and Implementation for Very Fast Publish/Subscribe Systems, SIGMOD 2001).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from triggers.cel.conditions import Condition, Context, part_over
from triggers.cel.runtime import FAILURES
from triggers.cel.syntax import parse
from triggers.cel.tree import Binary, Expr, ListOf, Literal, Name, Select, conjuncts
from triggers.cel.types import EVENT
from triggers.rules.events import StoredEvent
from triggers.rules.rule import Pattern
from triggers.rules.state import Occurrence, User

Predicate = Callable[[Any], Any]
"""The compiled function of a condition that reads only the event."""

_EVENT_NAMES = frozenset({"event", "now"})
_NO_USER = User("")


def _no_score(name: str) -> float:
    raise KeyError(name)


@dataclass(slots=True)
class TextComparisons:
    """The predicates that compare one property with texts."""

    by_text: dict[str, list[Predicate]] = field(default_factory=dict)
    every: list[Predicate] = field(default_factory=list)

    def add(self, texts: frozenset[str], predicate: Predicate) -> None:
        self.every.append(predicate)
        for text in texts:
            self.by_text.setdefault(text, []).append(predicate)


@dataclass(slots=True)
class Interest:
    """The parts of the patterns of one event type that read only the event."""

    always: bool = False
    """Whether some pattern matches every event of the type, or has no part that reads only the event."""
    _others: list[Predicate] = field(default_factory=list)
    _compared: dict[str, TextComparisons] = field(default_factory=dict)
    """Comparisons by property. Each predicate is either here or in `_others`."""

    def add(self, pattern: Pattern) -> None:
        """Adds a pattern that reads events of the type."""
        part = None if pattern.where is None else part_over(pattern.where, _EVENT_NAMES)
        if part is None:
            self.always = True
            return
        compared = texts_compared(part)
        if compared is None:
            self._others.append(part.code.function)
        else:
            name, texts = compared
            self._compared.setdefault(name, TextComparisons()).add(texts, part.code.function)

    def context(self, event: StoredEvent, now_ms: int) -> Context | None:
        """The event's context, without a user, if the event may change a user's state; else None.

        It may do so if some `where` is true, and also if one fails, because the failure must be reported.
        """
        if self.always:
            return Context(event, _NO_USER, None, _no_score, now_ms)
        predicates = self._others
        for name, compared in self._compared.items():
            text = event.properties.get(name)  # if it is not a text, each comparison may fail
            found = compared.by_text.get(text) if text.__class__ is str else compared.every
            if found:
                predicates = predicates + found
        if not predicates:
            return None
        context = Context(event, _NO_USER, None, _no_score, now_ms)  # no function for it: every event comes here
        return context if _any_holds(predicates, context) else None


def event_context(event: StoredEvent, now_ms: int, occurrence: Occurrence | None = None) -> Context:
    """The event's context without a user."""
    return Context(event, _NO_USER, occurrence, _no_score, now_ms)


def _any_holds(predicates: list[Predicate], context: Context) -> bool:
    try:
        for predicate in predicates:
            if predicate(context) is not False:
                return True
    except FAILURES:
        return True
    return False


def texts_compared(condition: Condition) -> tuple[str, frozenset[str]] | None:
    """A property of the event and the texts that it must equal for the condition to be true; None if there is none.

    With any other text the condition is false for any other operands: a false operand of `&&` outweighs one
    that fails.
    """
    for operand in conjuncts(parse(condition.text)):
        match operand:
            case Binary("==", Select(Name("event"), name), other) | Binary("==", other, Select(Name("event"), name)):
                texts = [_text(other)]
            case Binary("in", Select(Name("event"), name), ListOf(items)):
                texts = [_text(item) for item in items]
            case _:
                continue
        if name not in EVENT and texts and None not in texts:
            return name, frozenset(text for text in texts if text is not None)
    return None


def _text(node: Expr) -> str | None:
    return node.value if isinstance(node, Literal) and isinstance(node.value, str) else None

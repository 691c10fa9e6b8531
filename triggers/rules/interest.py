"""Which events of one type can change a user's state, decided without the state.

Most events of a type that many rules read concern none of them. So the part of a `where` that reads the event alone is
evaluated first; and a `where` that compares a property with texts, as in `event.plan == "pro"`, is looked up by the
event's own text instead (the equality predicates of Fabret et al., Filtering Algorithms and Implementation for Very
Fast Publish/Subscribe Systems, SIGMOD 2001).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from triggers.cel.conditions import Condition, Context, part_over
from triggers.cel.runtime import FAILURES
from triggers.cel.syntax import parse
from triggers.cel.tree import Binary, Expr, ListOf, Literal, Name, Select, conjuncts
from triggers.cel.types import EVENT
from triggers.rules.rule import Pattern
from triggers.rules.state import StoredEvent, User

Ask = Callable[[Any], Any]

_ASKED_ALONE = frozenset({"event", "now"})
_NOBODY = User("")


def _no_score(name: str) -> float:
    raise KeyError(name)


@dataclass(slots=True)
class Compared:
    """The conditions that compare one property with texts."""

    by_text: dict[str, list[Ask]] = field(default_factory=dict)
    every: list[Ask] = field(default_factory=list)

    def add(self, texts: frozenset[str], ask: Ask) -> None:
        self.every.append(ask)
        for text in texts:
            self.by_text.setdefault(text, []).append(ask)


@dataclass(slots=True)
class Interest:
    """What the patterns that read one event type ask of the event alone."""

    always: bool = False
    """Whether some pattern takes every event of the type, or asks nothing of the event alone."""
    _others: list[Ask] = field(default_factory=list)
    _compared: dict[str, Compared] = field(default_factory=dict)
    """By the property that is compared; each condition is here or among the others."""

    def add(self, pattern: Pattern) -> None:
        """Notes a pattern that reads events of the type."""
        part = None if pattern.where is None else part_over(pattern.where, _ASKED_ALONE)
        if part is None:
            self.always = True
            return
        compared = texts_compared(part)
        if compared is None:
            self._others.append(part.code.function)
        else:
            name, texts = compared
            self._compared.setdefault(name, Compared()).add(texts, part.code.function)

    def takes(self, event: StoredEvent, now_ms: int) -> bool:
        """Whether the event can touch a user's state: some `where` is true of it, or fails and is to be told."""
        if self.always:
            return True
        asks = self._others
        for name, compared in self._compared.items():
            text = event.properties.get(name)
            found = compared.by_text.get(text) if text.__class__ is str else compared.every  # who lacks it may fail
            if found:
                asks = asks + found
        return bool(asks) and _any_holds(asks, Context(event, _NOBODY, None, _no_score, now_ms))


def _any_holds(asks: list[Ask], context: Context) -> bool:
    try:
        for ask in asks:
            if ask(context) is not False:
                return True
    except FAILURES:
        return True
    return False


def texts_compared(condition: Condition) -> tuple[str, frozenset[str]] | None:
    """A property of the event, and the texts of which it is one wherever the condition is true; None without such.

    Where it is another text the condition is false, whatever else it asks: a false operand of `&&` outweighs one that
    fails.
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

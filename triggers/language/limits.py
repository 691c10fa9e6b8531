"""What limits sends: caps, budgets, quiet periods and holdouts, alike in triggers and in policies."""

from datetime import date, time
from typing import cast

from triggers.cel.conditions import Condition
from triggers.cel.types import ROOTS
from triggers.language import values
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import DocumentReader
from triggers.language.reader import MappingReader
from triggers.language.time_shapes import zone
from triggers.language.yaml_tree import Node, ScalarNode
from triggers.measures import shapes
from triggers.rules.rule import Cap, CapScope, Over, Quiet, SendBudget

_MAX_SPREAD = "7d"
_MAX_SPREAD_MS = shapes.duration(_MAX_SPREAD)
"""The longest `spread`: longer ones would mix the users of one calendar week with those of the next."""


def read_caps(document: DocumentReader, mapping: MappingReader, *, scope_required: bool = False) -> tuple[Cap, ...]:
    """The key `cap`."""

    def cap(node: Node) -> Cap:
        return _cap(document, node, scope_required=scope_required)

    return mapping.optional("cap", lambda n: values.several(document.report, n, cap), ())


def _cap(document: DocumentReader, node: Node, *, scope_required: bool) -> Cap:
    """`{max, per, scope, over, spread}`."""
    meant = shapes.cap_meant(node.text) if isinstance(node, ScalarNode) else ""
    mapping = document.mapping(node, "cap", "CAP", example=meant or "{max: 1, per: 3d}")
    if scope_required and "scope" not in mapping:
        hint = "what is counted: all, purpose, …"
        document.report.add(node.index, "missing-key", "missing key `scope` in a policy's cap", hint)
    return Cap(
        mapping.required("max", lambda n: _maximum(document, mapping, n), 1),
        mapping.required("per", _window, shapes.Rolling(1)),
        cast(CapScope, mapping.word("scope")),
        cast(Over, mapping.word("over")),
        mapping.optional("spread", lambda n: _spread(mapping, n), 0),
    )


def _spread(mapping: MappingReader, node: Node) -> int:
    ms = values.duration(node, "spread", zero=True)
    if ms > _MAX_SPREAD_MS:
        raise Problem(node.index, "invalid-duration", f"spread is longer than {_MAX_SPREAD}")
    if ms and ("over" not in mapping or mapping.word("over") != "defer"):
        hint = "write over: defer; a send that is dropped does not wait"
        raise Problem(mapping.place("spread"), "conflict", "`spread` goes with `over: defer`", hint)
    return ms


def _maximum(document: DocumentReader, mapping: MappingReader, node: Node) -> int | Condition:
    if isinstance(node, ScalarNode) and node.value.__class__ in (int, float):
        return values.whole(node, "max", *mapping.declared_key("max").bounds)
    return document.expressions.compile(node, "max", "number", ROOTS)


def _window(node: Node) -> shapes.Window:
    if isinstance(node, ScalarNode) and node.text == "ever":
        raise Problem(node.index, "invalid-window", "per: `ever` is for metrics only")
    return values.shape(node, "per", "invalid-window", shapes.window)


def read_budget(document: DocumentReader, mapping: MappingReader, name: str) -> SendBudget | None:
    """The key `budget` of the document that `name` names."""

    def budget(node: Node) -> SendBudget:
        inner = document.mapping(node, "budget", "BUDGET", example="{max: 50000, per: 1h}")
        most = inner.required("max", lambda n: values.whole(n, "max", *inner.declared_key("max").bounds), 0)
        return SendBudget(name, most, inner.required("per", _window, shapes.Rolling(1)))

    return mapping.optional("budget", budget, None)


def read_quiet(document: DocumentReader, mapping: MappingReader) -> tuple[Quiet, ...]:
    """The key `quiet`."""
    return mapping.optional(
        "quiet", lambda n: values.several(document.report, n, lambda period: _quiet(document, period)), ()
    )


def _quiet(document: DocumentReader, node: Node) -> Quiet | None:
    """`{from, to, days, zone, over}` or `{from, through, zone, over}`."""
    mapping = document.mapping(node, "quiet", "DAILY", "DATES", example='{from: "21:00", to: "08:00"}')
    over = cast(Over, mapping.word("over"))
    period = _dates(mapping) if "through" in mapping else _daily(mapping)
    return None if period is None else Quiet(period, over)


def _daily(mapping: MappingReader) -> shapes.DailyPeriod | None:
    start = mapping.required("from", lambda n: _clock(n, "from"), None)
    end = mapping.required("to", lambda n: _clock(n, "to"), None)
    where = mapping.declared("zone", zone)
    if start is None or end is None:
        return None
    if start == end:
        message = "`from` and `to` are the same time"
        raise Problem(mapping.node.index, "invalid-period", message, "a period needs a length")
    days = mapping.optional("days", lambda n: frozenset(values.several(mapping.report, n, _weekday)), None)
    return shapes.DailyPeriod(start, end, days, where)


def _dates(mapping: MappingReader) -> shapes.DatePeriod | None:
    first = mapping.required("from", lambda n: _date(n, "from"), None)
    last = mapping.required("through", lambda n: _date(n, "through"), None)
    where = mapping.declared("zone", zone)
    for key in ("to", "days"):
        if key in mapping:
            raise Problem(mapping.place(key), "conflict", f"`{key}` does not go with `through`")
    if first is None or last is None:
        return None
    if last < first:
        raise Problem(mapping.node.index, "invalid-period", "`through` is before `from`", "exchange the two dates")
    return shapes.DatePeriod(first, last, where)


def _clock(node: Node, what: str) -> time:
    return values.shape(node, what, "invalid-period", shapes.clock_time)


def _date(node: Node, what: str) -> date:
    return values.shape(node, what, "invalid-period", shapes.calendar_date)


def _weekday(node: Node) -> int:
    return values.shape(node, "days", "invalid-period", shapes.weekday)


def read_holdout(mapping: MappingReader) -> float:
    """The key `holdout`: a percentage of users."""
    return mapping.declared("holdout", lambda n: values.percent(n, "holdout"))

"""The document `trigger`."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, cast

from triggers import language, reader
from triggers.cases_document import read_cases
from triggers.cel_types import ROOTS
from triggers.conditions import Condition
from triggers.diagnostics import Problem, quoted
from triggers.parts import ENTRY, Parts
from triggers.reader import Reader
from triggers.rule import (
    Branch,
    Case,
    CountCrossing,
    Crossing,
    Experiment,
    Jump,
    Mode,
    Pattern,
    Send,
    Source,
    Step,
    Trigger,
    Wait,
)
from triggers.shapes import percent
from triggers.yaml_tree import Mapping, Node, Scalar

LATER_KEYS = ("brand", "on_edit")
TRIGGER_KEYS = language.keys("trigger", without=LATER_KEYS)
_LATER_SOURCES = (
    *("sum", "distinct", "sequence", "enters", "leaves", "every", "date", "before", "after", "at", "yearly"),
    *("metric", "segment", "same"),
)
_LEVEL_KEYS = ("within", "inactive", "reaches", "falls_below", "rearm")
_MAX_COUNT = 1_000
"""Up to which number a count is exact: it keeps that many instants for each user."""
_MAX_VARIANTS = 20


def read_trigger(parts: Parts, node: Node, rule_hash: str) -> Trigger:
    """The document of one trigger."""
    report = parts.report
    read = Reader(report, node, "trigger", TRIGGER_KEYS, LATER_KEYS)
    name = read.required("trigger", lambda n: reader.name(n, "a trigger's name"), "")
    mode, canary = read.optional("mode", _mode, ("live", 100.0))
    sources = read.required("on", lambda n: reader.several(report, n, lambda s: _source(parts, s)), ())
    parts.only_crossings = bool(sources) and not any(isinstance(s, Pattern) for s in sources)
    steps = _steps(parts, read)
    holdout = read.optional("holdout", parts.holdout, 0.0)
    return Trigger(
        name=name,
        rule_hash=rule_hash,
        path=report.source.path,
        owner=read.optional("owner", lambda n: reader.text(n, "owner"), ""),
        description=read.optional("description", lambda n: reader.text(n, "description"), ""),
        mode=mode,
        canary_percent=canary,
        purpose=read.required("purpose", lambda n: reader.name(n, "a purpose"), ""),
        sources=cast(tuple[Source, ...], sources),
        steps=steps,
        key=read.optional("key", lambda n: reader.several(report, n, lambda k: _key(parts, k)), ()),
        overlap=cast(Literal["restart", "ignore"], read.optional("overlap", _overlap, "restart")),
        reentry_ms=read.optional("reentry", _reentry, 0),
        unless=read.optional("unless", lambda n: parts.patterns(n, "unless"), ()),
        when=read.optional("when", _expression(parts, "when"), None),
        caps=read.optional("cap", lambda n: reader.several(report, n, parts.cap), ()),
        quiet=read.optional("quiet", lambda n: reader.several(report, n, parts.quiet), ()),
        expires_ms=read.optional("expires", lambda n: reader.duration(n, "expires"), 86_400_000),
        max_age_ms=read.optional("max_age", lambda n: reader.duration(n, "max_age"), 86_400_000),
        settle_ms=read.optional("settle", lambda n: reader.duration(n, "settle", zero=True), 0),
        priority=read.optional("priority", lambda n: reader.whole(n, "priority", 0, 100), 50),
        holdouts=((name, holdout),) if holdout else (),
        experiment=read.optional("experiment", lambda n: _experiment(parts, n, name), None),
        goal=read.optional("goal", parts.goal, None),
        cases=_cases(parts, read, steps),
    )


def _cases(parts: Parts, read: Reader, steps: tuple[Step, ...]) -> tuple[Case, ...]:
    sends = frozenset(step.id for step in steps if isinstance(step, Send))
    return read.optional("cases", lambda n: read_cases(parts, n, sends), ())


def _expression(parts: Parts, what: str) -> Callable[[Node], Condition | None]:
    return lambda node: parts.expressions.compile(node, what, "truth", ROOTS)


def _mode(node: Node) -> tuple[Mode, float]:
    value = reader.text(node, "mode")
    if value.startswith("canary "):
        return "canary", reader.shape(node, "mode", "invalid-percent", _canary)
    return cast(Mode, reader.choice(node, "mode", ("off", "shadow", "canary N%", "live"))), 100.0


def _canary(text: str) -> float:
    return percent(text.removeprefix("canary "))


def _overlap(node: Node) -> str:
    return reader.choice(node, "overlap", ("restart", "ignore"), ("gather",))


def _reentry(node: Node) -> int | None:
    if isinstance(node, Scalar) and node.text in ("always", "never"):
        return 0 if node.text == "always" else None
    return reader.duration(node, "reentry")


def _key(parts: Parts, node: Node) -> Condition | None:
    return parts.expressions.compile(node, "key", "value", ENTRY)


def _source(parts: Parts, node: Node) -> Source | None:
    if isinstance(node, Mapping):
        later = next((key for key in node.items if key in _LATER_SOURCES), None)
        if "score" in node.items:
            return _crossing(parts, node)
        if later:
            raise Problem(node.keys[later].index, "not-yet", f"`{later}` in on is not yet supported")
        if any(key in node.items for key in _LEVEL_KEYS):
            return _count_crossing(parts, node)
    return parts.pattern(node, "on", ENTRY)


def _crossing(parts: Parts, node: Mapping) -> Source | None:
    read = Reader(parts.report, node, "on", language.keys("SCORE_LEVEL"))
    score = read.required("score", lambda n: reader.identifier(n, "a score's name"), "")
    parts.references.scores.append((score, node.items["score"].index))
    way = _way(read)
    line = read.required(way, lambda n: reader.number(n, way, 1e-9, 1e12), 1.0)
    rearm = read.optional("rearm", lambda n: reader.number(n, "rearm", 1e-9, 1e12), line)
    _check_rearm(read, way, line, rearm)
    return Crossing(score, way == "falls_below", line, rearm)


def _count_crossing(parts: Parts, node: Mapping) -> Source | None:
    """`{event, where, within, reaches or falls_below, rearm}`, or `{event, where, inactive}`."""
    pattern = parts.pattern(node, "on", ENTRY, _LEVEL_KEYS)
    read = Reader(parts.report, node, "on", tuple(node.items))  # what is unknown, the pattern has told
    if "inactive" in read:
        for key in _LEVEL_KEYS:
            if key != "inactive" and key in read:
                hint = "inactive: D is short for within: D, falls_below: 1"
                raise Problem(read.place(key), "conflict", f"`{key}` does not go with `inactive`", hint)
        window_ms = read.required("inactive", lambda n: reader.duration(n, "inactive"), 1)
        return CountCrossing(pattern, window_ms, falls=True, line=1, rearm=1)
    window_ms = read.required("within", _rolling, 1)
    way = _way(read)
    line = read.required(way, lambda n: reader.whole(n, way, 1, _MAX_COUNT), 1)
    rearm = read.optional("rearm", lambda n: reader.whole(n, "rearm", 1, _MAX_COUNT), line)
    _check_rearm(read, way, line, rearm)
    return CountCrossing(pattern, window_ms, way == "falls_below", line, rearm)


def _rolling(node: Node) -> int:
    if isinstance(node, Scalar) and node.text.startswith("calendar "):
        raise Problem(node.index, "not-yet", "a count over a calendar window is not yet supported", "a duration")
    return reader.duration(node, "within")


def _way(read: Reader) -> str:
    ways = [key for key in ("reaches", "falls_below") if key in read]
    if len(ways) != 1:
        raise Problem(read.node.index, "conflict", "a crossing has exactly one of reaches and falls_below")
    return ways[0]


def _check_rearm(read: Reader, way: str, line: float, rearm: float) -> None:
    falls = way == "falls_below"
    if rearm < line if falls else rearm > line:
        side = "at or above" if falls else "at or below"
        raise Problem(read.place("rearm"), "invalid-value", f"rearm must be {side} the line of {line:g}")


def _steps(parts: Parts, read: Reader) -> tuple[Step, ...]:
    """`send` or `steps`, behind the wait of `after`, which is counted from the entry event's time."""
    if ("send" in read) == ("steps" in read):
        parts.report.add(read.node.index, "conflict", "a trigger has exactly one of `send` and `steps`")
        return ()
    after = read.optional("after", lambda n: parts.wait(n, "after"), 0)
    if "send" in read:
        send = read.optional("send", parts.send, None)
        steps: tuple[Step, ...] = (send,) if send else ()
    else:
        steps = read.optional("steps", parts.steps, ())
        if not any(isinstance(step, Send) for step in steps):
            parts.report.add(read.place("steps"), "invalid-value", "these steps send nothing", "add a send")
    _check_ids(parts, read, steps)
    return (Wait(after), *_moved(steps)) if after else steps


def _moved(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps with their jump targets one further, behind one more step."""
    moved: list[Step] = []
    for step in steps:
        if isinstance(step, Branch):
            step = replace(step, otherwise=step.otherwise + 1)
        elif isinstance(step, Jump):
            step = Jump(step.target + 1)
        moved.append(step)
    return tuple(moved)


def _check_ids(parts: Parts, read: Reader, steps: tuple[Step, ...]) -> None:
    ids = [step.id for step in steps if isinstance(step, Send)]
    for twice in sorted({each for each in ids if ids.count(each) > 1}):
        message = f"two sends have the id {quoted(twice)}"
        parts.report.add(read.place("steps"), "duplicate-step", message, "give one an `id` of its own")


def _experiment(parts: Parts, node: Node, trigger: str) -> Experiment | None:
    read = Reader(parts.report, node, "experiment", language.keys("EXPERIMENT"))
    weights = read.required("variants", lambda n: _weights(parts, n), ())
    if not weights:
        return None
    return Experiment(read.optional("salt", lambda n: reader.text(n, "salt"), trigger), weights)


def _weights(parts: Parts, node: Node) -> tuple[tuple[str, float], ...]:
    items = reader.mapping_items(node, "variants")
    weights = []
    for key, place, value in items:
        reader.guarded(parts.report, lambda place=place: reader.name(place, "a variant's name"), "")  # type: ignore[misc]
        weight = reader.guarded(parts.report, lambda value=value: reader.number(value, "a weight", 0, 1e6), 1.0)  # type: ignore[misc]
        weights.append((key, weight))
    if not 2 <= len(weights) <= _MAX_VARIANTS or not math.fsum(w for _, w in weights) > 0:
        raise Problem(node.index, "invalid-value", f"variants needs 2 to {_MAX_VARIANTS} names with weights, not all 0")
    return tuple(weights)

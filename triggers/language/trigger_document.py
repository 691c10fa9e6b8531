"""The document `trigger`."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, cast

from schemas.wording import quoted
from triggers.cel.conditions import Condition
from triggers.cel.types import ROOTS
from triggers.language import keys, reader
from triggers.language.case_document import read_cases
from triggers.language.diagnostics import Problem
from triggers.language.level_sources import LEVEL_KEYS, read_score_crossing, read_segment_change, read_window_crossing
from triggers.language.parts import ENTRY, Parts
from triggers.language.reader import Reader
from triggers.language.time_sources import TIME_SOURCES, time_source
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode
from triggers.measures.shapes import Schedule, percent
from triggers.rules.rule import (
    Anniversary,
    Branch,
    Case,
    Experiment,
    Jump,
    Mode,
    Pattern,
    Send,
    Sequence,
    Source,
    Step,
    Trigger,
    Wait,
    WindowCrossing,
)

LATER_KEYS = ("brand",)
TRIGGER_KEYS = keys.keys("trigger", without=LATER_KEYS)
_MAX_VARIANTS = 20


def read_trigger(parts: Parts, node: Node, rule_hash: str) -> Trigger:
    """The document of one trigger."""
    report = parts.report
    read = Reader(report, node, "trigger", TRIGGER_KEYS, LATER_KEYS)
    name = read.required("trigger", lambda n: reader.name(n, "a trigger's name"), "")
    mode, canary = read.optional("mode", _mode, ("live", 100.0))
    sources = read.required("on", lambda n: reader.several(report, n, lambda s: _source(parts, s)), ())
    parts.only_crossings = bool(sources) and not any(isinstance(s, Pattern | Sequence) for s in sources)
    parts.grouped = _grouped(cast(tuple[Source, ...], sources))
    steps = _steps(parts, read)
    read.optional("on_edit", lambda n: reader.choice(n, "on_edit", ("pin",), ("follow",)), "pin")
    holdout = read.optional("holdout", parts.holdout, 0.0)
    return Trigger(
        name=name,
        rule_hash=rule_hash,
        path=report.source.path,
        owner=read.optional("owner", lambda n: reader.text(n, "owner"), ""),
        description=read.optional("description", lambda n: reader.text(n, "description"), ""),
        mode=mode,
        canary_percent=canary,
        purpose=read.required("purpose", lambda n: reader.name(n, "a purpose"), "", "purpose: marketing"),
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
        cases=_cases(parts, read, steps, recurs=any(_recurs(source) for source in sources)),
    )


def _grouped(sources: tuple[Source, ...]) -> frozenset[str]:
    """The properties that every source groups by, which what begins the trigger therefore has."""
    fields = [s.metric.pattern.same if isinstance(s, WindowCrossing) else () for s in sources]
    return frozenset(fields[0]).intersection(*fields) if fields else frozenset()


def _recurs(source: object) -> bool:
    """Whether it begins something again and again by the clock alone."""
    return isinstance(source, Schedule) or (isinstance(source, Anniversary) and source.yearly)


def _cases(parts: Parts, read: Reader, steps: tuple[Step, ...], *, recurs: bool) -> tuple[Case, ...]:
    sends = frozenset(step.id for step in steps if isinstance(step, Send))
    return read.optional("cases", lambda n: read_cases(parts, n, sends, recurs=recurs), ())


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
    if isinstance(node, ScalarNode) and node.text in ("always", "never"):
        return 0 if node.text == "always" else None
    return reader.duration(node, "reentry")


def _key(parts: Parts, node: Node) -> Condition | None:
    return parts.expressions.compile(node, "key", "value", ENTRY)


def _source(parts: Parts, node: Node) -> Source | None:
    if isinstance(node, MappingNode):
        if any(key in node.items for key in TIME_SOURCES):
            return time_source(parts, node)
        if "score" in node.items:
            return read_score_crossing(parts, node)
        if "enters" in node.items or "leaves" in node.items:
            return read_segment_change(parts, node)
        if any(key in node.items for key in LEVEL_KEYS):
            return read_window_crossing(parts, node)
        if "same" in node.items:
            hint = "it groups what a crossing counts, as in {event: NAME, same: sku, within: 1d, reaches: 3}"
            raise Problem(node.keys["same"].index, "conflict", "`same` has nothing to group here", hint)
    return parts.pattern(node, "on", ENTRY)


def _steps(parts: Parts, read: Reader) -> tuple[Step, ...]:
    """`send` or `steps`, behind the wait of `after`, which is counted from the entry event's time."""
    if ("send" in read) == ("steps" in read):
        parts.unsure_of_sends = True
        hint = "put the message into the steps, as in - send: welcome" if "send" in read else "as in send: welcome"
        if not read.misspelt("send") and not read.misspelt("steps"):
            parts.report.add(read.node.index, "conflict", "a trigger has exactly one of `send` and `steps`", hint)
        return ()
    after = read.optional("after", lambda n: parts.wait(n, "after"), Wait(0))
    if "send" in read:
        send = read.optional("send", parts.send, None)
        steps: tuple[Step, ...] = (send,) if send else ()
    else:
        parts.unsure_of_sends |= not isinstance(read.node.items["steps"], SequenceNode)
        steps = read.optional("steps", parts.steps, ())
        if not any(isinstance(step, Send) for step in steps) and not parts.unsure_of_sends:
            parts.report.add(read.place("steps"), "invalid-value", "these steps send nothing", "add a send")
    _check_ids(parts, read, steps)
    return steps if after == Wait(0) else (after, *_moved(steps))


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
    read = Reader(parts.report, node, "experiment", keys.keys("EXPERIMENT"))
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

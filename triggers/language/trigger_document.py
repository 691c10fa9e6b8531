"""The document `trigger`."""

import math
from dataclasses import replace
from typing import cast

from schemas.brands import consent_name
from schemas.types import LONGEST_NAME
from schemas.wording import quoted
from triggers.cel.conditions import Condition
from triggers.cel.types import ROOTS
from triggers.language import keys, values
from triggers.language.case_document import read_cases
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import ENTRY, DocumentReader
from triggers.language.level_sources import LEVEL_KEYS, read_score_crossing, read_segment_change, read_window_crossing
from triggers.language.limits import read_budget, read_caps, read_holdout, read_quiet
from triggers.language.reader import MappingReader
from triggers.language.scalars import CANARY, MODES
from triggers.language.steps import read_send, read_steps, read_wait
from triggers.language.time_sources import TIME_SOURCES, time_source
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode
from triggers.measures.shapes import percent
from triggers.rules.rule import (
    Branch,
    Cap,
    Experiment,
    Goal,
    Jump,
    Mode,
    Overlap,
    Pattern,
    Send,
    Sequence,
    Source,
    Step,
    Trigger,
    Wait,
    WaitFor,
    WindowCrossing,
    recurs,
)


def read_trigger(document: DocumentReader, node: Node, rule_hash: str) -> Trigger:
    """The document of one trigger."""
    report = document.report
    mapping = document.mapping(node, "trigger", "trigger")
    name = mapping.required("trigger", lambda n: values.name(n, "a trigger's name"), "")
    mode, canary = mapping.declared("mode", _mode)
    purpose = mapping.required("purpose", lambda n: values.name(n, "a purpose"), "", "purpose: marketing")
    brand = _brand(document, mapping, purpose)
    sources = mapping.required("on", lambda n: values.several(report, n, lambda s: _source(document, s)), ())
    document.only_crossings = bool(sources) and not any(isinstance(s, Pattern | Sequence) for s in sources)
    found = cast(tuple[Source, ...], sources)
    document.grouped = _grouped(found)
    steps = _steps(document, mapping)
    holdout = read_holdout(mapping)
    budget = read_budget(document, mapping, f"trigger/{name}")
    trigger = Trigger(
        name=name,
        rule_hash=rule_hash,
        path=report.source.path,
        owner=mapping.optional("owner", lambda n: values.text(n, "owner"), ""),
        description=mapping.optional("description", lambda n: values.text(n, "description"), ""),
        mode=mode,
        canary_percent=canary,
        purpose=purpose,
        brand=brand,
        sources=found,
        steps=steps,
        key=mapping.optional("key", lambda n: values.several(report, n, lambda k: _key(document, k)), ()),
        overlap=cast(Overlap, mapping.word("overlap")),
        reentry_ms=mapping.declared("reentry", _reentry),
        unless=mapping.optional("unless", lambda n: document.patterns(n, "unless"), ()),
        when=mapping.optional("when", lambda n: document.condition(n, "when", ROOTS), None),
        caps=_caps(document, mapping),
        quiet=read_quiet(document, mapping),
        expires_ms=mapping.declared("expires", lambda n: values.duration(n, "expires")),
        max_age_ms=mapping.declared("max_age", lambda n: values.duration(n, "max_age")),
        settle_ms=mapping.declared("settle", lambda n: values.duration(n, "settle", zero=True)),
        priority=mapping.whole("priority"),
        holdouts=((name, holdout),) if holdout else (),
        experiment=mapping.optional("experiment", lambda n: _experiment(document, n, name), None),
        goal=mapping.optional("goal", lambda n: _goal(document, n), None),
        budgets=() if budget is None else (budget,),
        follows=mapping.word("on_edit") == "follow",
        cases=mapping.optional("cases", lambda n: read_cases(document, n, _send_ids(steps), recurs=recurs(found)), ()),
    )
    if not any(isinstance(step, WaitFor) for step in steps) and not document.sends_incomplete:
        hint = "as in steps: [{wait_for: order_completed, up_to: 2d}, …]"
        document.check_occurrence_field("matched", "no step of this rule waits for an event", hint)
    if trigger.overlap != "gather":
        document.check_occurrence_field("events", "this rule gathers no entries", "write overlap: gather")
    elif "key" not in mapping:
        message = "`overlap: gather` gathers the entries of a `key`, and there is none"
        report.add(mapping.place("overlap"), "conflict", message, "as in key: user.id")
    return trigger


def _brand(document: DocumentReader, mapping: MappingReader, purpose: str) -> str | None:
    """The brand, whose folder goes before other templates."""
    brand = mapping.optional("brand", document.brand, None)
    if brand is None:
        return None
    if brand in document.brands:
        document.folder = document.brands[brand].templates or ""
    message, hint = _wrong_consent(consent_name(brand, purpose))
    if message and purpose:
        document.report.add(mapping.node.items["purpose"].index, "invalid-name", message, hint)
    return brand


def _wrong_consent(name: str) -> tuple[str, str]:
    """Why a name cannot be that of a consent to a brand's purpose, and what to write; empty if it can."""
    if name.count("/") > 1:
        purpose = name.partition("/")[2].replace("/", "-")
        return f"a purpose under a brand has no `/`: the consent is {quoted(name)}", f"as in {purpose}"
    too_long = len(name) > LONGEST_NAME
    return (f"the consent's name {quoted(name)} is longer than {LONGEST_NAME} characters" if too_long else ""), ""


def _caps(document: DocumentReader, mapping: MappingReader) -> tuple[Cap, ...]:
    caps = read_caps(document, mapping)
    if "brand" not in mapping and any(cap.scope == "brand" for cap in caps):
        message = "a cap over the brand, and the trigger has none"
        document.report.add(mapping.place("cap"), "conflict", message, "write a `brand`, or scope: purpose or all")
    return caps


def _grouped(sources: tuple[Source, ...]) -> frozenset[str]:
    """The properties that every source groups by, which what begins the trigger therefore has."""
    fields = [s.metric.pattern.same if isinstance(s, WindowCrossing) else () for s in sources]
    return frozenset(fields[0]).intersection(*fields) if fields else frozenset()


def _send_ids(steps: tuple[Step, ...]) -> frozenset[str]:
    return frozenset(step.id for step in steps if isinstance(step, Send))


def _mode(node: Node) -> tuple[Mode, float]:
    value = values.text(node, "mode")
    if value.startswith(CANARY):
        return "canary", values.shape(node, "mode", "invalid-percent", lambda text: percent(text.removeprefix(CANARY)))
    return cast(Mode, values.choice(node, "mode", MODES)), 100.0


def _reentry(node: Node) -> int | None:
    if isinstance(node, ScalarNode) and node.text in ("always", "never"):
        return 0 if node.text == "always" else None
    return values.duration(node, "reentry")


def _key(document: DocumentReader, node: Node) -> Condition | None:
    return document.expressions.compile(node, "key", "value", ENTRY)


def _source(document: DocumentReader, node: Node) -> Source | None:
    if isinstance(node, MappingNode):
        if any(key in node.items for key in TIME_SOURCES):
            return time_source(document, node)
        if "score" in node.items:
            return read_score_crossing(document, node)
        if "enters" in node.items or "leaves" in node.items:
            return read_segment_change(document, node)
        if any(key in node.items for key in LEVEL_KEYS):
            return read_window_crossing(document, node)
        if "same" in node.items:
            hint = "it groups what a crossing counts, as in {event: NAME, same: sku, within: 1d, reaches: 3}"
            raise Problem(node.keys["same"].index, "conflict", "`same` has nothing to group here", hint)
    return document.pattern(node, "on", ENTRY)


def _steps(document: DocumentReader, mapping: MappingReader) -> tuple[Step, ...]:
    """`send` or `steps`, behind the wait of `after`, which is counted from the entry event's time."""
    if ("send" in mapping) == ("steps" in mapping):
        document.sends_incomplete = True
        hint = "put the message into the steps, as in - send: welcome" if "send" in mapping else "as in send: welcome"
        if not mapping.misspelt("send") and not mapping.misspelt("steps"):
            document.report.add(mapping.node.index, "conflict", "a trigger has exactly one of `send` and `steps`", hint)
        return ()
    after = mapping.declared("after", lambda n: read_wait(document, n, "after"))
    if "send" in mapping:
        send = mapping.optional("send", lambda n: read_send(document, n), None)
        steps: tuple[Step, ...] = (send,) if send else ()
    else:
        document.sends_incomplete |= not isinstance(mapping.node.items["steps"], SequenceNode)
        steps = mapping.optional("steps", lambda n: read_steps(document, mapping, n), ())
        if not any(isinstance(step, Send) for step in steps) and not document.sends_incomplete:
            document.report.add(mapping.place("steps"), "invalid-value", "these steps send nothing", "add a send")
    _check_ids(document, mapping, steps)
    return steps if after == Wait(0) else (after, *_moved(steps))


def _moved(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps with their jump targets one further, behind one more step."""
    moved: list[Step] = []
    for step in steps:
        match step:
            case Branch(otherwise=otherwise):
                step = replace(step, otherwise=otherwise + 1)
            case WaitFor(then=then):
                step = replace(step, then=then + 1)
            case Jump(target=target):
                step = Jump(target + 1)
        moved.append(step)
    return tuple(moved)


def _check_ids(document: DocumentReader, mapping: MappingReader, steps: tuple[Step, ...]) -> None:
    ids = [step.id for step in steps if isinstance(step, Send)]
    for twice in sorted({each for each in ids if ids.count(each) > 1}):
        message = f"two sends have the id {quoted(twice)}"
        document.report.add(mapping.place("steps"), "duplicate-step", message, "give one an `id` of its own")


def _goal(document: DocumentReader, node: Node) -> Goal:
    mapping = document.mapping(node, "goal", "GOAL", example="{event: NAME, within: 7d}")
    pattern = document.pattern_keys(mapping, ENTRY)
    return Goal(pattern, mapping.required("within", lambda n: values.duration(n, "within"), 1))


def _experiment(document: DocumentReader, node: Node, trigger: str) -> Experiment | None:
    mapping = document.mapping(node, "experiment", "EXPERIMENT")
    weights = mapping.required("variants", lambda n: _weights(mapping, n), ())
    if not weights:
        return None
    return Experiment(mapping.optional("salt", lambda n: values.text(n, "salt"), trigger), weights)


def _weights(mapping: MappingReader, node: Node) -> tuple[tuple[str, float], ...]:
    declared = keys.record("EXPERIMENT").key("variants")
    weights = []
    for key, place, value in values.mapping_items(node, "variants"):
        mapping.report.attempt(lambda place=place: values.name(place, "a variant's name"), "")  # type: ignore[misc]
        weight = mapping.report.attempt(lambda value=value: values.number(value, "a weight", *declared.bounds), 1.0)  # type: ignore[misc]
        weights.append((key, weight))
    fewest, most = declared.size or (0, len(weights))
    if not fewest <= len(weights) <= most or not math.fsum(weight for _, weight in weights) > 0:
        message = f"variants needs {fewest} to {most} names with weights, not all 0"
        raise Problem(node.index, "invalid-value", message)
    return tuple(weights)

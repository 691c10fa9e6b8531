"""The key `cases` of a trigger: examples written beside the rule, run by `triggers.cases.case_runner`."""

from typing import Any

from schemas.vocabulary import Reason
from schemas.wording import nearest, quoted
from triggers.language import keys, time_shapes, values
from triggers.language.case_time import CaseTimeError, parse_at, parse_start
from triggers.language.diagnostics import Problem
from triggers.language.document_reader import DocumentReader
from triggers.language.yaml_tree import MappingNode, Node, ScalarNode, SequenceNode, plain_value
from triggers.measures.windows import EXACT, MAX_AMOUNT
from triggers.rules.rule import Case, CaseExpectation, CaseInput

_DROPS = tuple(reason.value for reason in Reason)
_MEASURES = keys.names("MEASURES")
_SCORE_BOUNDS = keys.record("USER").key("score").bounds
[_EXPECTED] = keys.record("EXPECTED").exactly_one


def read_cases(
    document: DocumentReader, node: Node, sends: frozenset[str], *, recurs: bool = False
) -> tuple[Case, ...]:
    """Every case of a trigger whose sends have these ids; one that `recurs` by the clock needs an end."""
    if not isinstance(node, SequenceNode):
        raise values.wrong(node, "cases", "a list", "begin each case with `- `, as in - name: at once")
    return values.several(document.report, node, lambda item: _case(document, item, sends, recurs=recurs))


def _case(document: DocumentReader, node: Node, sends: frozenset[str], *, recurs: bool) -> Case:
    mapping = document.mapping(node, "a case", "CASE")
    if recurs and "until" not in mapping:
        message = "missing key `until` in a case of a rule that recurs by the clock"
        document.report.add(node.index, "missing-key", message, 'as in until: "+7d 00:00"')

    others = mapping.optional("with", lambda n: _others(document, n, ends="until" in mapping), ())

    def expected(document: DocumentReader, node: Node) -> CaseExpectation:
        return _expected(document, node, sends, others)

    return Case(
        name=mapping.required("name", lambda n: values.text(n, "name"), "", "name: at once"),
        start=mapping.declared("start", lambda n: _time(n, start=True)),
        user=mapping.declared("user", lambda n: _user(document, n)),
        given=mapping.required("given", lambda n: _lines(document, n, "given", _given), ()),
        expect=mapping.required("expect", lambda n: _lines(document, n, "expect", expected), ()),
        until=mapping.optional("until", _time, None),
        policies=mapping.optional("policies", lambda n: _policies(document, n), ()),
        line=_line(document, node),
        others=others,
    )


def _others(document: DocumentReader, node: Node, *, ends: bool) -> tuple[str, ...]:
    def other(item: Node) -> str:
        name = values.name(item, "a rule's name")
        document.references.others.append((name, item.index, ends))
        return name

    return values.several(document.report, node, other)


def _line(document: DocumentReader, node: Node) -> int:
    return document.report.source.text.count("\n", 0, node.index) + 1


def _policies(document: DocumentReader, node: Node) -> tuple[str, ...]:
    return values.several(document.report, node, lambda item: _policy(document, item))


def _policy(document: DocumentReader, node: Node) -> str:
    policy = values.name(node, "a policy's name")
    document.references.policies.append((policy, node.index))
    return policy


def _lines(document: DocumentReader, node: Node, what: str, parse: Any) -> tuple[Any, ...]:
    if not isinstance(node, SequenceNode):
        raise values.wrong(node, what, "a list", "put it into [ ], or begin each line with `- `")
    return values.several(document.report, node, lambda item: parse(document, item)) if node.items else ()


def _time(node: Node, *, start: bool = False) -> str:
    value = values.text(node, "at")
    try:
        _ = parse_start(value) if start else parse_at(value)
    except CaseTimeError as error:
        raise Problem(node.index, "invalid-time", str(error), error.hint) from None
    return value


def _at(node: Node, what: str, example: str) -> tuple[str, str, Node, MappingNode]:
    """A line `{at, WHAT: value}` as (at, what, value, the whole)."""
    if not isinstance(node, MappingNode):
        raise values.wrong(node, what, "{at, …}", f"as in {example}")
    others = [key for key in node.items if key != "at"]
    if "at" not in node.items or len(others) != 1:
        raise Problem(node.index, "missing-key", f"{what} takes `at` and one other key", f"as in {example}")
    return _time(node.items["at"]), others[0], node.items[others[0]], node


def _given(document: DocumentReader, node: Node) -> CaseInput:
    at, what, value, whole = _at(node, "a given line", '{at: "10:00", signed_up: {}}')
    if what == "all":
        return _given_to_all(document, at, value, _line(document, node))
    if not isinstance(value, MappingNode):
        named = value.text if what in ("event", "type") and isinstance(value, ScalarNode) else ""
        hint = f"the event's name is the key, as in {named}: {{}}" if named else "{} where it has none"
        raise values.wrong(value, f"`{what}`", "a mapping of properties", hint)
    properties = {key: plain_value(item) for key, item in value.items.items()}
    if what == "user":
        _check(document, value, _OF_PROFILE)
        return CaseInput(at, None, properties, _line(document, node))
    _note_event(document, whole.keys[what], value)
    return CaseInput(at, what, properties, _line(document, node))


def _given_to_all(document: DocumentReader, at: str, node: Node, line: int) -> CaseInput:
    """`all: {EVENT: {…}}`: an event without a user."""
    events = values.mapping_items(node, "`all`", "all: {restocked: {sku: a}}")
    name, place, value = events[0] if len(events) == 1 else ("", None, None)
    if place is None or not isinstance(value, MappingNode):
        raise values.wrong(node, "`all`", "one event with its properties", "as in all: {restocked: {sku: a}}")
    _note_event(document, place, value)
    return CaseInput(at, name, {key: plain_value(item) for key, item in value.items.items()}, line, without_user=True)


def _note_event(document: DocumentReader, place: ScalarNode, value: MappingNode) -> None:
    name = values.name(place, "an event's name")
    document.references.case_events.append((name, place.index))
    document.references.given.append((name, value))


def _expected(document: DocumentReader, node: Node, sends: frozenset[str], others: tuple[str, ...]) -> CaseExpectation:
    at, what, value, whole = _at(node, "an expected line", '{at: "10:00", send: welcome}')
    line = _line(document, node)
    if what == "send":
        step = values.name(value, "a step's id")
        other = next((name for name in others if step.startswith(f"{name}/")), None)
        if step not in sends and other is not None:
            document.references.their_sends.append((other, step.removeprefix(f"{other}/"), value.index))
        elif step not in sends and not document.sends_incomplete:
            message = f"this rule has no send {quoted(step)}"
            raise Problem(value.index, "invalid-value", message, nearest(step, sends))
        return CaseExpectation(at, "send", step, line)
    if what == "drop":
        return CaseExpectation(at, "drop", values.choice(value, "reason", _DROPS), line)
    if what == "exit":
        event = values.name(value, "an event's name")
        document.references.case_events.append((event, value.index))
        return CaseExpectation(at, "exit", event, line)
    message = f"unknown key {quoted(what)} in an expected line"
    raise Problem(whole.keys[what].index, "unknown-key", message, nearest(what, _EXPECTED))


def _user(document: DocumentReader, node: Node) -> dict[str, object]:
    if not isinstance(node, MappingNode):
        raise values.wrong(node, "user", "a mapping of attributes")
    checks = {**_OF_PROFILE, "score": _scores, "metric": _metrics, "held_out": _flag, "variant": _text}
    _check(document, node, checks)
    document.references.attributes += [(key, place.index) for key, place in node.keys.items() if key not in checks]
    return {key: plain_value(item) for key, item in node.items.items()}


def _check(document: DocumentReader, node: MappingNode, checks: dict[str, Any]) -> None:
    for key, check in checks.items():
        if key in node.items:
            check(document, node.items[key], key)


def _scores(document: DocumentReader, node: Node, what: str) -> None:
    for key, place, value in values.mapping_items(node, what, f"{what}: {{NAME: 3}}"):
        document.references.scores.append((key, place.index))
        values.number(value, f"score.{key}", *_SCORE_BOUNDS)


def _metrics(document: DocumentReader, node: Node, what: str) -> None:
    """`NAME: 3`, or `NAME: {count, sum, distinct}`."""
    for key, place, value in values.mapping_items(node, what, f"{what}: {{NAME: 3}}"):
        whole = f"metric.{key}"
        if not isinstance(value, MappingNode):
            number = values.number(value, whole, -MAX_AMOUNT, MAX_AMOUNT)
            counts = number.is_integer() and 0 <= number <= EXACT  # what is no count can only be a sum
            document.references.metrics.append((key, "count" if counts else "sum", place.index))
            continue
        mapping = document.mapping(value, whole, "MEASURES")
        for measure in ("count", "distinct"):
            mapping.optional(measure, lambda n, w=f"{whole}.{measure}": values.whole(n, w, 0, EXACT), 0)  # type: ignore[misc]
        mapping.optional("sum", lambda n, w=whole: values.number(n, f"{w}.sum", -MAX_AMOUNT, MAX_AMOUNT), 0.0)  # type: ignore[misc]
        document.references.metrics += [(key, name, mapping.place(name)) for name in value.items if name in _MEASURES]


def _consent(document: DocumentReader, node: Node, what: str) -> None:  # noqa: ARG001 - one signature for every check
    if not isinstance(node, SequenceNode):
        raise values.wrong(node, what, "a list of purposes")
    for item in node.items:
        values.name(item, "a purpose")


def _flag(document: DocumentReader, node: Node, what: str) -> None:  # noqa: ARG001 - one signature for every check
    values.flag(node, what)


def _text(document: DocumentReader, node: Node, what: str) -> None:  # noqa: ARG001 - one signature for every check
    values.text(node, what)


def _zone(document: DocumentReader, node: Node, what: str) -> None:  # noqa: ARG001 - one signature for every check
    time_shapes.users_zone(node)


_OF_PROFILE = {"zone": _zone, "locale": _text, "consent": _consent}
"""What a profile has besides attributes."""
